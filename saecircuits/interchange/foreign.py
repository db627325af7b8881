"""Attribution graphs of other programs as circuits.

What such a file calls a feature stays one; `site` is the hook that a transcoder or attention
dictionary of its layer writes. Ids stay as they are, so that pins and groups mean the same nodes.
Links are direct effects; total effects are not in the file, and nodes are ordered by its influence.
The settings say in our words what circuit-tracer computes: attention and norms held, features token
by token, errors at their clean value, everything measured from zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from saecircuits.circuits import Circuit
from saecircuits.edges.columns import EDGE_TABLE, NODE_TABLE, PART_TABLE, table_of
from saecircuits.edges.graph_scores import SCORES
from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import InputError
from saecircuits.interchange.file_scores import file_scores
from saecircuits.interchange.findings import whole_number
from saecircuits.interchange.graph_checks import check_graph
from saecircuits.interchange.graph_file import GraphFile, Group, Label
from saecircuits.interchange.rules import FEATURE_NAMES
from saecircuits.interchange.shared_ids import Rows, with_own_ids
from saecircuits.interchange.viewers import FEATURE_TYPES, LOGIT, uncantor
from saecircuits.nodes.names import METRIC
from saecircuits.runs.storage import sha256, to_json
from saecircuits.splicing.sites import TOKEN_HOOK, hook_of

_KINDS: Final = {
    **{kind: name for name, kind in FEATURE_TYPES.items()},
    "lorsa": "feature",
    "lorsa error": "error",
    "bias": "bias",
    "unknown": "unknown",
}
_ATTENTION: Final = ("lorsa", "lorsa error")
# What keeps a file from being read, whatever it then does to a viewer.
_UNREADABLE: Final = ("json", "schema", "not-finite", "dangling-link", "position", "layer")


def from_foreign(document: Mapping[str, Any], *, where: str) -> GraphFile:
    """A graph that another program wrote.

    Nodes that share an id get ids of their own, and their links are told apart by their order.

    Raises:
        InputError: not of the format's shape, or links to nodes that are not there.
    """
    errors = [
        one for one in check_graph(document) if one.rule in _UNREADABLE and one.level == "error"
    ]
    if errors:
        raise InputError(f"{where} cannot be read as an attribution graph: {errors[0].message}")
    nodes, links, notes = with_own_ids(document["nodes"], document["links"], is_reader=_is_reader)
    links, added = _added_up(links, where)
    notes += added
    mended = {**document, "nodes": nodes, "links": links} if notes else dict(document)
    asked = document["qParams"]
    groups, empty = groups_of(asked.get("supernodes"), where)
    if empty:
        shown = [[group.label, *group.nodes] for group in groups]
        mended = {**mended, "qParams": {**asked, "supernodes": shown}}
        notes += empty
    return GraphFile(
        circuit=_circuit(document, nodes, links),
        labels={
            node["node_id"]: Label(node["clerp"], "file")
            for node in nodes
            if _kind(node) == "feature" and node["clerp"]
        },
        influence={
            node["node_id"]: float(node["influence"])
            for node in nodes
            if node.get("influence") is not None
        },
        pins=tuple(asked.get("pinnedIds") or ()),
        groups=groups,
        title=document["metadata"]["slug"],
        document=mended,
        notes=tuple(notes),
    )


def _circuit(document: Mapping[str, Any], nodes: Rows, links: Rows) -> Circuit:
    """The nodes and links, each with an id of its own, as a circuit."""
    metadata = document["metadata"]
    about = _About.of(document, nodes)
    rows = [_row(node, metadata["prompt_tokens"], about) for node in sorted(nodes, key=_rank)]
    edges = [
        {"source": link["source"], "target": link["target"], "effect": float(link["weight"])}
        for link in sorted(links, key=lambda link: -abs(link["weight"]))
    ]
    node_table, edge_table = table_of(rows, NODE_TABLE), table_of(edges, EDGE_TABLE)
    return Circuit(
        nodes=node_table,
        edges=edge_table,
        edge_parts=table_of([], PART_TABLE),
        candidates=tuple(row["node"] for row in rows if row["kind"] in ("feature", "error")),
        settings=AttributionSettings(
            linearization="frozen",
            positions="each",
            error_policy="hold",
            baseline="zero",
            thresholds="held",
            parts=False,
        ),
        selection={"by": "influence", **(metadata.get("pruning_settings") or {})},
        summary={
            "edges_computed": len(edges),
            SCORES: file_scores(node_table, edge_table).model_dump(),
        },
        provenance={
            "model": metadata["scan"],
            "source_set": _source_set(metadata),
            "generator": (metadata.get("info") or {}).get("generator") or {},
            "file_digest": sha256(to_json(document, indent=None)),
            "prompt": metadata["prompt"],
        },
    )


@dataclass(frozen=True)
class _About:
    """What holds for all nodes of a file: whether feature numbers are paired, the highest layer."""

    is_paired: bool
    top: int

    @classmethod
    def of(cls, document: Mapping[str, Any], nodes: Rows) -> "_About":
        features = [node for node in nodes if node["feature_type"] in FEATURE_NAMES]
        # Some write paired numbers and do not say so. Their ids do: each holds the feature's own.
        is_paired = document["metadata"].get("schema_version") == 1 or (
            bool(features) and all(_unpaired(node) in _numbers_in_id(node) for node in features)
        )
        layers = (_layer(node) for node in nodes if node["feature_type"] != LOGIT)
        return cls(is_paired=is_paired, top=max(layers, default=0))


def _source_set(metadata: Mapping[str, Any]) -> object:
    """The dictionaries, by the name that the file gives them; writers put it in several places."""
    for place in ("info", "feature_details"):
        about = metadata.get(place) or {}
        for key in ("neuronpedia_source_set", "transcoder_set"):
            if about.get(key):
                return about[key]
    return None


def groups_of(given: Any, where: str) -> tuple[tuple[Group, ...], list[str]]:
    """The groups of nodes that a viewer is to show as one, and what was left out, in words.

    Raises:
        InputError: no list of lists of text.
    """
    lists = given or []
    if not isinstance(lists, list) or not all(
        isinstance(one, list) and all(isinstance(text, str) for text in one) for one in lists
    ):
        raise InputError(
            f"{where} cannot be read as an attribution graph: qParams.supernodes is no list of "
            "lists of text; write [[label, node_id, ...], ...]"
        )
    groups = tuple(Group(one[0], tuple(one[1:])) for one in lists if len(one) > 1)
    empty = len(lists) - len(groups)
    return groups, [f"{empty} groups without nodes were left out."] if empty else []


def _added_up(
    links: Sequence[dict[str, Any]], where: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """One link from a node to another."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for link in links:
        pair = (link["source"], link["target"])
        if pair in found:
            found[pair] = {**found[pair], "weight": found[pair]["weight"] + link["weight"]}
        else:
            found[pair] = link
    if len(found) == len(links):
        return list(links), []
    if not all(math.isfinite(link["weight"]) for link in found.values()):
        raise InputError(f"{where}: weights of repeated links are too large to be added up")
    return list(found.values()), [f"{len(links) - len(found)} repeated links were added up."]


def _row(
    node: Mapping[str, Any],
    tokens: Sequence[str],
    about: _About,
) -> dict[str, Any]:
    kind, layer, position = _kind(node), _layer(node), int(node["ctx_idx"])
    feature = _feature(node, is_paired=about.is_paired) if kind == "feature" else None
    if kind == "feature" and feature is None:
        kind = "unknown"  # a feature that the file does not tell from others
    if kind == METRIC:
        site, layer = "", 1 + about.top
    elif kind in ("token", "bias", "unknown"):
        site = TOKEN_HOOK if kind == "token" else ""
    else:
        is_attention = node["feature_type"] in _ATTENTION
        site = hook_of(layer, "attn_out" if is_attention else "mlp_out")
    activation = node.get("token_prob") if kind == METRIC else node.get("activation")
    return {
        "node": node["node_id"],
        "site": site,
        "layer": layer,
        "kind": kind,
        "feature": feature,
        "position": position,
        "span": str(position),
        "token": tokens[position],
        "activation": activation,
    }


def _unpaired(node: Mapping[str, Any]) -> int | None:
    """The feature of a paired number; None if it is not paired with the node's own layer."""
    number = node["feature"]
    if number is None or number < 0:
        return None
    layer, feature = uncantor(int(number))
    return feature if layer == _layer(node) else None


def _numbers_in_id(node: Mapping[str, Any]) -> set[int]:
    parts = node["node_id"].split("#")[0].split("_")
    return {number for part in parts if (number := whole_number(part)) is not None}


def _feature(node: Mapping[str, Any], *, is_paired: bool) -> int | None:
    number = node["feature"]
    if is_paired and (feature := _unpaired(node)) is not None:
        return feature
    named = node["node_id"].split("#")[0].split("_")
    if len(named) == 3 and (feature := whole_number(named[1])) is not None:
        return feature
    return None if number is None or number < 0 else int(number)


def _kind(node: Mapping[str, Any]) -> str:
    return _KINDS.get(node["feature_type"], "feature")


def _layer(node: Mapping[str, Any]) -> int:
    layer = whole_number(node["layer"])
    return -1 if layer is None else layer


def _rank(node: Mapping[str, Any]) -> tuple[bool, float]:
    """Logits first, then by influence, the important ones first."""
    influence = node.get("influence")
    return node["feature_type"] != LOGIT, math.inf if influence is None else float(influence)


def _is_reader(node: Mapping[str, Any]) -> bool:
    return _kind(node) in ("feature", METRIC)
