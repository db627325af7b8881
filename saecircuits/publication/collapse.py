"""A circuit whose groups are nodes: members give way to their group, parallel edges are summed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from saecircuits.edges.columns import Row
from saecircuits.publication.grouping import Group

GROUP: Final = "group"


@dataclass(frozen=True)
class Collapsed:
    """What is drawn of a circuit with groups.

    Attributes:
        nodes: rows as in the circuit's table, and one of kind `group` for each group; its place is
            that of its strongest member, its effect their sum.
        edges: source, target, effect, and how many edges of the circuit they are (`count`), with
            their summed |effect| (`size`).
        names, members: of each group by its id; members are rows, strongest first.
    """

    nodes: list[Row]
    edges: list[Row]
    names: dict[str, str]
    members: dict[str, list[Row]]


def collapse(nodes: Sequence[Row], edges: Sequence[Row], groups: Sequence[Group]) -> Collapsed:
    """The circuit between groups and the nodes that are in none; edges inside a group are gone."""
    by_id = {node["node"]: node for node in nodes}
    home: dict[str, str] = {node["node"]: node["node"] for node in nodes}
    made: list[Row] = []
    names: dict[str, str] = {}
    members: dict[str, list[Row]] = {}
    for number, group in enumerate(groups):
        # Two groups may have the same name.
        name = f"group {number}"
        names[name] = group.name
        rows = sorted((by_id[node] for node in group.nodes), key=lambda row: -abs(row["effect"]))
        home |= dict.fromkeys(group.nodes, name)
        members[name] = rows
        nan = float("nan")
        made.append(
            {
                **rows[0],
                "node": name,
                "kind": GROUP,
                "feature": None,
                "effect": sum(row["effect"] for row in rows),
                "effect_low": nan,
                "effect_high": nan,
            }
        )
    summed: dict[tuple[str, str], Row] = {}
    for edge in edges:
        source, target = home[edge["source"]], home[edge["target"]]
        if source == target:
            continue
        found = summed.setdefault(
            (source, target),
            {"source": source, "target": target, "effect": 0.0, "count": 0, "size": 0.0},
        )
        found["effect"] += edge["effect"]
        found["size"] += abs(edge["effect"])
        found["count"] += 1
    left = [node for node in nodes if home[node["node"]] == node["node"]]
    return Collapsed(nodes=[*left, *made], edges=list(summed.values()), names=names,
                     members=members)  # fmt: skip
