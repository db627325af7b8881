"""What travels between programs: a circuit with its labels, and what a viewer is to open with.

Every target is written from one `GraphFile`, and every file that is read becomes one.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from saecircuits.circuits import Circuit, Routes
from saecircuits.edges.columns import Row, rows_of
from saecircuits.errors import UnknownNameError
from saecircuits.features.labels import FeatureLabel
from saecircuits.nodes.names import METRIC
from saecircuits.runs.records import TaskRecord
from saecircuits.runs.stored import StoredRun
from saecircuits.splicing.sites import TOKEN_HOOK, make_site
from saecircuits.validation import ValidationReport

AUTO: Final = "auto"
_PINNED_PATHS: Final = 3


@dataclass(frozen=True)
class Label:
    """The text of a feature, and who wrote it: `auto`, or an author's name."""

    text: str
    by: str


@dataclass(frozen=True)
class Group:
    """Nodes that a reader sees as one ("supernode"), with the text that stands for them."""

    label: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class GraphFile:
    """A circuit as other programs know it.

    Attributes:
        circuit: nodes, edges and parts. Read from a file of another program, `effect` of nodes is
            NaN: such files hold links, and no total effects.
        labels: of features, by node id.
        influence: by node id, cumulative: |effect| of this node and all stronger ones, as a share
            of all (features, error nodes and tokens); small is important. The metric has none.
        report, task: None where the file has none.
        pins: ids of nodes that a viewer shows pinned; `groups` nodes that it shows as one.
        title: names the graph.
        document: of an attribution graph of another program, the JSON as it was read, mended where
            `notes` say so; None for files of our own.
        notes: what was done on reading.
    """

    circuit: Circuit
    labels: Mapping[str, Label]
    influence: Mapping[str, float]
    report: ValidationReport | None = None
    task: TaskRecord | None = None
    pins: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()
    title: str = "circuit"
    document: Mapping[str, Any] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """The title as file names and viewers take it."""
        return plain_name(self.title)


def graph_file(
    circuit: Circuit,
    *,
    labels: Sequence[FeatureLabel] = (),
    report: ValidationReport | None = None,
    task: TaskRecord | None = None,
    routes: Routes | None = None,
    pins: Sequence[str] | None = None,
    groups: Sequence[Group] = (),
) -> GraphFile:
    """A circuit of this package, ready to be written.

    Args:
        pins: node ids; if None the nodes of the three strongest paths.

    Raises:
        UnknownNameError: a pinned or grouped node that the circuit has not.
    """
    known = set(circuit.nodes["node"])
    for node in (*(pins or ()), *(node for group in groups for node in group.nodes)):
        if node not in known:
            raise UnknownNameError("node of the circuit", node, known)
    if pins is None and routes is not None:
        strongest = [node for nodes in routes.table["nodes"][:_PINNED_PATHS] for node in nodes]
        pins = [node for node in dict.fromkeys(strongest) if node in known]
    by_feature = {(label.site, label.feature): label for label in labels}
    named: dict[str, Label] = {}
    for node in rows_of(circuit.nodes):
        label = None
        if node["kind"] == "feature":
            label = by_feature.get((node["site"], int(node["feature"])))
        if label is not None:
            named[node["node"]] = Label(label.text, label.author or AUTO)
    model = str(circuit.provenance.get("model", "model"))
    return GraphFile(
        circuit=circuit,
        labels=named,
        influence=cumulative_influence(circuit),
        report=report,
        task=task,
        pins=tuple(pins or ()),
        groups=tuple(groups),
        title=f"{model}-{task.name}" if task is not None else model,
    )


def of_run(
    run: StoredRun,
    *,
    pins: Sequence[str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> GraphFile:
    """The circuit of a run's folder; see `graph_file`."""
    return graph_file(
        run.circuit,
        labels=run.labels,
        report=run.report,
        task=run.record.task,
        routes=run.routes,
        pins=pins,
        groups=[Group(name, tuple(nodes)) for name, nodes in (groups or {}).items()],
    )


def cumulative_influence(circuit: Circuit) -> dict[str, float]:
    """`GraphFile.influence`; ties go by the order of the table."""
    rows = [row for row in rows_of(circuit.nodes) if row["kind"] != METRIC]
    rows.sort(key=lambda row: -abs(row["effect"]))
    total = math.fsum(abs(row["effect"]) for row in rows) or 1.0
    found, so_far = {}, 0.0
    for row in rows:
        so_far += abs(row["effect"])
        found[row["node"]] = min(1.0, so_far / total)  # rounding is not to hide the last node
    return found


def layers_of(circuit: Circuit) -> dict[str, int]:
    """Site to its number in forward order, from 1: dictionaries that the model computes in order.

    Viewers know one dictionary a layer; several in one block get a number each. 0 is left out:
    one viewer takes a highest layer of 0 for none, and error ids of layer 0 would collide.
    """
    sites = {*circuit.provenance.get("dictionaries", {}), *circuit.nodes["site"]}
    hooks = sorted(sites - {"", TOKEN_HOOK}, key=lambda hook: make_site(hook, (hook,)))
    return {hook: number for number, hook in enumerate(hooks, start=1)}


def short_name(node: Row) -> str:
    """Such as `L2 resid_post f217`; without a site, the node's id."""
    if not node["site"] or node["kind"] == "token":
        return str(node["node"])
    what = f"f{node['feature']}" if node["kind"] == "feature" else node["kind"]
    return f"{make_site(node['site'], (node['site'],)).label} {what}"


def plain_name(text: str) -> str:
    """Letters, digits and `_.-` alone, which all viewers and file systems take."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "graph"
