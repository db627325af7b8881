"""Groups: what belongs together, what a reader may give, and where it is read from."""

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
import scipy.cluster.hierarchy as hierarchy
from scipy.spatial.distance import squareform

from saecircuits.circuits import Circuit
from saecircuits.edges.columns import rows_of
from saecircuits.errors import InputError, RunFolderError, UnknownNameError
from saecircuits.publication.collapse import collapse
from saecircuits.publication.grouping import (
    ALIKE,
    Group,
    clusters,
    given_groups,
    read_groups,
    suggest_groups,
)
from tests.made import made_circuit, made_labels


def features(circuit: Circuit) -> pd.DataFrame:
    return circuit.nodes[circuit.nodes["kind"] == "feature"]


def wired(circuit: Circuit, edges: list[tuple[str, str, float]]) -> Circuit:
    """The circuit with these edges alone."""
    table = pd.DataFrame(edges, columns=["source", "target", "effect"])
    nan = float("nan")
    table = table.assign(direct=nan, effect_low=nan, effect_high=nan)
    return replace(circuit, edges=table, edge_parts=circuit.edge_parts.head(0))


def at_one_place(circuit: Circuit, count: int) -> list[str]:
    found = features(circuit)
    return list(found.loc[found["position"] == 0, "node"])[:count]


@pytest.mark.parametrize("seed", range(8))
def test_clusters_are_those_of_average_linkage(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(11, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    likeness = points @ points.T
    tree = hierarchy.average(squareform(1 - likeness, checks=False))
    named = hierarchy.fcluster(tree, 1 - ALIKE, criterion="distance")
    expected = {frozenset(np.flatnonzero(named == name).tolist()) for name in set(named)}
    assert {frozenset(found) for found in clusters(likeness.tolist())} == expected


def test_nodes_with_like_edges_are_grouped_and_named_after_the_strongest() -> None:
    circuit = made_circuit(n_nodes=60)
    a, b, c = at_one_place(circuit, 3)
    # c has the same ends with the opposite sign: cosine -1 with a, and b's cosine with a is 1.
    circuit = wired(circuit, [(a, "metric", 2.0), (b, "metric", 0.5), (c, "metric", -1.0)])
    (group,) = suggest_groups(circuit, made_labels(circuit, text="girl"))
    assert set(group.nodes) == {a, b}
    assert group.name == "girl at unit 0"
    size = features(circuit).set_index("node")["effect"].abs()
    strongest = max(a, b, key=lambda node: size[node])
    (unlabelled,) = suggest_groups(circuit)
    assert unlabelled.name == f"{strongest.partition('@')[0].rpartition('.')[2]} at unit 0"


def test_only_the_strongest_are_looked_at() -> None:
    circuit = made_circuit(n_nodes=60)
    members = circuit.nodes[circuit.nodes["kind"].isin(["feature", "error"])]
    edges = [(node, "metric", 1.0) for node in features(circuit)["node"]]
    found = suggest_groups(wired(circuit, edges), among=20)
    strongest = set(members.sort_values("effect", key=abs, ascending=False)["node"].head(20))
    assert found and {node for group in found for node in group.nodes} <= strongest


def test_groups_never_share_a_node_or_cross_places() -> None:
    circuit = made_circuit(n_nodes=120, n_edges=150, seed=4)
    found = suggest_groups(circuit)
    assert len(found) > 1
    nodes = [node for group in found for node in group.nodes]
    assert len(nodes) == len(set(nodes))
    place = circuit.nodes.set_index("node")["position"]
    assert all(len({place[node] for node in group.nodes}) == 1 for group in found)
    assert suggest_groups(circuit) == found


def test_given_groups_are_checked() -> None:
    circuit = made_circuit()
    a, b = features(circuit)["node"].head(2)
    (group,) = given_groups(circuit, {"mine": [a, "token@unit 0", b]})
    assert group == Group("mine", (a, b))
    with pytest.raises(UnknownNameError, match="unknown node of the circuit 'f1@nowhere'"):
        given_groups(circuit, {"mine": ["f1@nowhere"]})
    with pytest.raises(InputError, match="holds the metric"):
        given_groups(circuit, {"mine": ["metric"]})
    with pytest.raises(InputError, match="is in the groups 'x' and 'y'"):
        given_groups(circuit, {"x": [a], "y": [a]})
    with pytest.raises(InputError, match="no feature or error node"):
        given_groups(circuit, {"x": ["token@unit 0"]})


def test_groups_are_read_from_a_file_and_from_a_page_s_address(tmp_path: Path) -> None:
    wanted = {"a & b": ["x.f1@y z", "x.f2@y"], "other": ["x.error@y"]}
    file = tmp_path / "groups.json"
    file.write_text(json.dumps(wanted))
    assert read_groups(file) == wanted
    entries = [("view", "groups")]
    entries += [("group", json.dumps(["~", name, *ids])) for name, ids in wanted.items()]
    assert read_groups(f"file:///somewhere/report.html#{urlencode(entries)}") == wanted


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"a": "b"}', '{"a": [1]}', "nothing", "[" * 10**5, "\u202e"]
)
def test_what_holds_no_groups_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "groups.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"no groups|no valid JSON"):
        read_groups(file)
    with pytest.raises(InputError, match=r"no groups|no valid JSON"):
        read_groups("report.html#" + urlencode({"group": text}))


def test_groups_of_one_name_in_an_address_are_told_apart() -> None:
    entries = [("group", json.dumps(["", "girl", f"x.f{number}@y"])) for number in range(3)]
    assert read_groups(f"#{urlencode(entries)}") == {
        "girl": ["x.f0@y"], "girl (2)": ["x.f1@y"], "girl (3)": ["x.f2@y"]
    }  # fmt: skip


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="nowhere"):
        read_groups(tmp_path / "nowhere.json")


def test_collapsing_keeps_every_effect() -> None:
    circuit = made_circuit(n_nodes=60, n_edges=300)
    nodes, edges = rows_of(circuit.nodes), rows_of(circuit.edges)
    ids = list(features(circuit)["node"])
    groups = [Group("same", tuple(ids[:5])), Group("same", tuple(ids[5:9]))]
    drawn = collapse(nodes, edges, groups)
    assert sum(row["effect"] for row in drawn.nodes) == pytest.approx(circuit.nodes["effect"].sum())
    inside = sum(
        edge["effect"]
        for edge in edges
        if any({edge["source"], edge["target"]} <= set(group.nodes) for group in groups)
    )
    total = sum(edge["effect"] for edge in drawn.edges)
    assert total + inside == pytest.approx(circuit.edges["effect"].sum())
    ends = [(edge["source"], edge["target"]) for edge in drawn.edges]
    assert len(ends) == len(set(ends)) and all(source != target for source, target in ends)
    assert sorted(map(len, drawn.members.values())) == [4, 5]
