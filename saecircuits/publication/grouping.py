"""Groups of nodes: suggested, for the picture and the page alike, or given by the reader.

Suggested are features at one place whose edges come from and go to the same nodes in like
proportion: at every place, the two clusters with the largest mean cosine between their members'
signed edges are merged, as long as it is above 0.6 (average linkage). Numbers are taken to six
digits, so that ties do not hang on how an effect was added up.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

from saecircuits.circuits import Circuit
from saecircuits.edges.columns import Row, rows_of
from saecircuits.errors import InputError, UnknownNameError
from saecircuits.features.labels import FeatureLabel
from saecircuits.runs.storage import read_bytes
from saecircuits.shown_text import visible

SUGGESTED: Final = "suggested"
ALIKE: Final = 0.6
AMONG: Final = 80  # the strongest; the page shows as many when it opens
MOST: Final = 20
_DIGITS: Final = 6
_LONGEST_NAME: Final = 60
Profile: TypeAlias = dict[tuple[str, bool], float]


@dataclass(frozen=True)
class Group:
    """Nodes that are drawn as one.

    Attributes:
        nodes: ids of features and error nodes.
    """

    name: str
    nodes: tuple[str, ...]


def suggest_groups(
    circuit: Circuit, labels: Sequence[FeatureLabel] = (), *, among: int = AMONG
) -> tuple[Group, ...]:
    """At most 20 groups, by summed |effect|, the largest first; named after their strongest member.

    Args:
        labels: of some or all of the circuit's features; the others go by their number.
        among: how many of the strongest features and error nodes are looked at.
    """
    nodes = rows_of(circuit.nodes)
    size = {node["node"]: abs(_rounded(node["effect"])) for node in nodes}
    members = [node for node in nodes if node["kind"] in ("feature", "error")]
    strongest = sorted(members, key=lambda node: -size[node["node"]])[:among]
    looked_at = {node["node"] for node in strongest}
    places: dict[int, list[Row]] = {}
    for node in nodes:
        if node["node"] in looked_at and node["kind"] == "feature":
            places.setdefault(node["position"], []).append(node)
    texts = {(label.site, label.feature): label.text for label in labels}
    profiles = _profiles(circuit)
    found: list[tuple[float, Group]] = []
    for _, features in sorted(places.items()):
        likeness = [
            [_cosine(profiles.get(a["node"], {}), profiles.get(b["node"], {})) for b in features]
            for a in features
        ]
        for cluster in clusters(likeness):
            if len(cluster) > 1:
                ids = tuple(features[index]["node"] for index in cluster)
                first = max((features[i] for i in cluster), key=lambda node: size[node["node"]])
                name = f"{_title(first, texts)} at {visible(first['span'])}"[:_LONGEST_NAME]
                found.append((sum(size[node] for node in ids), Group(name, ids)))
    found.sort(key=lambda each: -each[0])
    return tuple(group for _, group in found[:MOST])


def clusters(likeness: Sequence[Sequence[float]]) -> list[list[int]]:
    """Average linkage down to `ALIKE`; of equal pairs, the first is merged.

    Args:
        likeness: of every two members; symmetric.
    """
    found = [[member] for member in range(len(likeness))]
    table = [list(row) for row in likeness]
    while True:
        best, i, j = ALIKE, -1, -1
        for a in range(len(found)):
            for b in range(a + 1, len(found)):
                if table[a][b] > best:
                    best, i, j = table[a][b], a, b
        if i < 0:
            return found
        m, n = len(found[i]), len(found[j])
        for other in range(len(found)):
            mean = (m * table[i][other] + n * table[j][other]) / (m + n)
            table[i][other] = table[other][i] = mean
        found[i] += found.pop(j)
        del table[j]
        for row in table:
            del row[j]


def given_groups(circuit: Circuit, groups: Mapping[str, Sequence[str]]) -> tuple[Group, ...]:
    """Groups that somebody names, checked. Tokens are left out: they have a row of their own.

    Args:
        groups: ids of nodes by the group's name.

    Raises:
        UnknownNameError: a node that the circuit does not have.
        InputError: the metric, a node in two groups, or a group without a feature or error node.
    """
    kinds = dict(zip(circuit.nodes["node"], circuit.nodes["kind"], strict=True))
    owner: dict[str, str] = {}
    found = []
    for name, nodes in groups.items():
        for node in nodes:
            if node not in kinds:
                raise UnknownNameError("node of the circuit", str(node), kinds)
            if kinds[node] == "metric":
                raise InputError(f"group {name!r} holds the metric, which stands by itself")
            if node in owner:
                raise InputError(f"{node} is in the groups {owner[node]!r} and {name!r}; choose")
            owner[node] = name
        members = tuple(node for node in nodes if kinds[node] != "token")
        if not members:
            raise InputError(f"group {name!r} has no feature or error node; give at least one id")
        found.append(Group(str(name), members))
    return tuple(found)


def read_groups(source: str | Path) -> dict[str, list[str]]:
    """Groups from a JSON file `{"name": ["id", ...]}`, or from the address of a run's page.

    The page keeps its reader's groups behind `#` in its address.

    Raises:
        RunFolderError: a file that cannot be read.
        InputError: no groups of that form.
    """
    _, mark, fragment = str(source).partition("#")
    if mark:
        # [mark of a suggestion, name, id, ...]: see fragment() in frontend/src/state.ts.
        entries = [_parsed(text, source) for text in parse_qs(fragment).get("group", [])]
        is_form = all(isinstance(entry, list) and len(entry) > 2 for entry in entries)
        found: Any = {}
        for _, name, *ids in entries if is_form else ():
            # The page may have several groups of one name; its suggestions often do.
            same = sum(str(other[1]) == name for other in entries[: len(found)])
            found[f"{name} ({same + 1})" if same else str(name)] = ids
    else:
        found = _parsed(read_bytes(Path(source)).decode("utf-8", errors="replace"), source)
    is_form = isinstance(found, dict) and all(
        isinstance(nodes, list) and all(isinstance(node, str) for node in nodes)
        for nodes in found.values()
    )
    if not is_form or not found:
        raise InputError(
            f'{source} holds no groups; give a JSON file of the form {{"name": ["id", ...]}}, or '
            "the address of a page in which groups were made"
        )
    return found


def _parsed(text: str, source: str | Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the groups in {source} are no valid JSON ({error})") from None


def _profiles(circuit: Circuit) -> dict[str, Profile]:
    """Signed effects of each node's edges, by the other end and whether it is the target."""
    edges = [(a, b, _rounded(effect)) for a, b, effect in _ends(circuit)]
    edges.sort(key=lambda edge: -abs(edge[2]))
    found: dict[str, Profile] = {}
    for source, target, effect in edges:
        found.setdefault(target, {})[source, False] = effect
    for source, target, effect in edges:
        found.setdefault(source, {})[target, True] = effect
    return found


def _ends(circuit: Circuit) -> Iterable[tuple[str, str, float]]:
    return circuit.edges[["source", "target", "effect"]].itertuples(index=False, name=None)


def _cosine(a: Profile, b: Profile) -> float:
    # From left to right on every Python: `sum` compensates in newer ones.
    dot = aa = bb = 0.0
    for key, value in a.items():
        aa += value * value
        dot += value * b.get(key, 0.0)
    for value in b.values():
        bb += value * value
    return dot / math.sqrt(aa * bb) if aa and bb else 0.0


def _title(node: Row, texts: Mapping[tuple[str, int], str]) -> str:
    text = texts.get((node["site"], node["feature"]))
    return f"f{node['feature']}" if text is None else visible(text)


def _rounded(value: float) -> float:
    return 0.0 if value != value else float(f"{value:.{_DIGITS}g}")
