"""Pictures of any circuit: nothing overlaps, the strongest is shown, and the rest is counted."""

from dataclasses import replace
from itertools import combinations

import pytest

from saecircuits.circuits import Circuit
from saecircuits.publication.boxes import Box, Drop
from saecircuits.publication.grouping import Group
from saecircuits.publication.layout import arrange
from tests.made import made_circuit, made_labels

CIRCUITS = {
    "one node": made_circuit(n_units=1, n_layers=1, n_nodes=1, n_edges=1),
    "no edges": made_circuit(n_edges=0),
    "usual": made_circuit(),
    "deep": made_circuit(n_layers=6, n_nodes=80, n_edges=300, seed=1),
    "crowded": made_circuit(n_units=2, n_layers=1, n_nodes=200, n_edges=400, seed=2),
    "wide": made_circuit(n_units=14, n_layers=4, n_nodes=150, n_edges=300, seed=3),
}


@pytest.fixture(params=CIRCUITS, ids=list(CIRCUITS))
def circuit(request: pytest.FixtureRequest) -> Circuit:
    return CIRCUITS[request.param]


def overlap(one: Box, other: Box) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


def test_no_two_boxes_overlap(circuit: Circuit) -> None:
    boxes = arrange(circuit, made_labels(circuit)).boxes
    assert not [(a.node, b.node) for a, b in combinations(boxes, 2) if overlap(a, b)]


@pytest.mark.parametrize("has_drops", [False, True])
def test_no_two_boxes_overlap_with_groups(circuit: Circuit, has_drops: bool) -> None:
    groups = made_groups(circuit)
    drops = {frozenset([node]): Drop(0.1) for node in circuit.members}
    drops |= {frozenset(group.nodes): Drop(0.5, 0.4, 0.6) for group in groups}
    layout = arrange(circuit, made_labels(circuit), groups=groups, drops=drops if has_drops else {})
    boxes = layout.boxes
    assert not [(a.node, b.node) for a, b in combinations(boxes, 2) if overlap(a, b)]
    for box in boxes:
        assert box.x >= 0 and box.x + box.width <= layout.width
        assert box.y >= 0 and box.y + box.height <= layout.height
    drawn = [box for box in boxes if box.kind == "group"]
    assert sorted(box.count for box in drawn) == sorted(len(group.nodes) for group in groups)
    assert all((box.drop is not None) == has_drops for box in drawn)
    assert layout.groups == (len(groups), sum(len(group.nodes) for group in groups))


def test_a_group_stands_for_its_nodes() -> None:
    circuit = CIRCUITS["deep"]
    groups = made_groups(circuit)
    layout = arrange(circuit, (), groups=groups)
    effect = circuit.nodes.set_index("node")["effect"]
    boxes = {box.title: box for box in layout.boxes if box.kind == "group"}
    for group in groups:
        box = boxes[group.name]
        assert box.effect == pytest.approx(effect[list(group.nodes)].sum())
        strongest = effect[list(group.nodes)].abs().sort_values(ascending=False)
        assert [abs(member.effect) for member in box.members] == list(strongest.head(3))
    home = {node: group.name for group in groups for node in group.nodes}
    shown = layout.shown_nodes[0] - len(home)
    assert shown == len([box for box in layout.boxes if box.kind in ("feature", "error")])
    summed: dict[tuple[str | None, str | None], float] = {}
    for source, target, value in circuit.edges[["source", "target", "effect"]].to_numpy().tolist():
        ends = home.get(source, source), home.get(target, target)
        summed[ends] = summed.get(ends, 0.0) + value
    for link in layout.links:
        source, target = (
            b.title if b.kind == "group" else b.node for b in (link.source, link.target)
        )
        assert link.effect == pytest.approx(summed[source, target])


def made_groups(circuit: Circuit) -> list[Group]:
    """Up to four groups of unequal sizes, each of one site and place, the last of several."""
    members = circuit.nodes[circuit.nodes["kind"].isin(["feature", "error"])]
    cells = [list(cell["node"]) for _, cell in members.groupby(["site", "position"])]
    large = sorted((cell for cell in cells if len(cell) > 2), key=len)[-3:]
    groups = [Group(f"girl, woman | +She {n}", tuple(cell)) for n, cell in enumerate(large)]
    taken = {node for group in groups for node in group.nodes}
    left = [node for node in members["node"] if node not in taken][:3]
    return [*groups, Group("anywhere", tuple(left))] if left else groups


def test_everything_is_inside_the_picture(circuit: Circuit) -> None:
    layout = arrange(circuit, ())
    for box in layout.boxes:
        assert box.x >= 0 and box.x + box.width <= layout.width
        assert box.y >= 0 and box.y + box.height <= layout.height


def test_each_cell_shows_its_strongest_nodes_and_counts_the_others(circuit: Circuit) -> None:
    layout = arrange(circuit, ())
    shown = {box.node for box in layout.boxes}
    members = circuit.nodes[circuit.nodes["kind"].isin(["feature", "error"])]
    for _, cell in members.groupby(["site", "position"]):
        inside = cell[cell["node"].isin(shown)]
        assert len(inside) <= 6
        if len(inside) < len(cell):
            weakest = inside["effect"].abs().min()
            assert not (cell[~cell["node"].isin(shown)]["effect"].abs() > weakest).any()
    n_shown = int(members["node"].isin(shown).sum())
    assert n_shown <= 60
    assert sum(more.count for more in layout.more) == len(members) - n_shown
    assert layout.shown_nodes[:2] == (n_shown, len(members))
    share = (
        members["effect"].abs()[members["node"].isin(shown)].sum() / members["effect"].abs().sum()
    )
    assert layout.shown_nodes[2] == pytest.approx(share)


def test_the_strongest_edges_between_shown_nodes_are_drawn(circuit: Circuit) -> None:
    layout = arrange(circuit, ())
    shown = {box.node for box in layout.boxes}
    between = circuit.edges[
        circuit.edges["source"].isin(shown) & circuit.edges["target"].isin(shown)
    ]
    expected = between.reindex(between["effect"].abs().sort_values(ascending=False).index)[:60]
    drawn = [(link.source.node, link.target.node) for link in reversed(layout.links)]
    assert drawn == list(zip(expected["source"], expected["target"], strict=True))
    assert layout.shown_edges[:2] == (len(drawn), len(circuit.edges))


def test_computation_runs_upwards(circuit: Circuit) -> None:
    for link in arrange(circuit, ()).links:
        assert link.source.y > link.target.y


def test_tokens_and_metric_are_always_shown(circuit: Circuit) -> None:
    kinds = [box.kind for box in arrange(circuit, ()).boxes]
    assert kinds.count("metric") == 1
    assert kinds.count("token") == circuit.nodes["position"].nunique()


def test_columns_stand_in_the_order_of_the_prompt() -> None:
    layout = arrange(CIRCUITS["wide"], ())
    assert [column.name for column in layout.columns] == [f"unit {i}" for i in range(14)]
    for left, right in zip(layout.columns, layout.columns[1:], strict=False):
        assert left.stop < right.start


def test_labels_are_found_by_site_and_number() -> None:
    circuit = CIRCUITS["usual"]
    labels = made_labels(circuit)
    renamed = [replace_text(label, f"{label.site} {label.feature}") for label in labels]
    by_node = circuit.nodes.set_index("node")
    for box in arrange(circuit, renamed).boxes:
        if box.kind == "feature":
            row = by_node.loc[box.node]
            assert box.title == f"{row['site']} {row['feature']}"
    unlabelled = arrange(circuit, ()).boxes
    assert all(box.title == box.name for box in unlabelled if box.kind == "feature")


def replace_text(label, text: str):
    return label.model_copy(update={"text": text})


def test_a_circuit_without_members_can_be_arranged() -> None:
    whole = CIRCUITS["usual"]
    nodes = whole.nodes[whole.nodes["kind"].isin(["metric", "token"])].reset_index(drop=True)
    layout = arrange(replace(whole, nodes=nodes, edges=whole.edges.head(0)), ())
    assert layout.shown_nodes == (0, 0, 1.0)
