"""`paths`: the strongest paths of features through a graph, and what all paths carry together.

A path `u0 -> u1 -> ... -> uK` is counted in the linear operator at the clean run (`edges.linear`):

    effect = mean over prompts of  dm/da_uK da_uK/da_uK-1 ... da_u1/da_u0 (a_u0 clean - baseline)

with direct derivatives, summed over the tokens of each span on the way: products are taken prompt
by prompt and token by token, means last. So paths add up, exactly:

    sum of all paths from u0 through features     `total`, by one triangular solve
    + what first meets an error node somewhere    `through_errors` (0 under the policy `hold`)
    + what first meets a node without edges       `beyond`
    = the gradient effect of u0                   `whole`

and the k strongest are found exactly, by `theory.pooled_paths`.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import AliasChoices, BeforeValidator, Field, computed_field, model_validator
from typing_extensions import TypedDict

from saecircuits.edges.graph import AttributionGraph
from saecircuits.edges.linear import UNSPLIT, LinearGraph, linear_graph
from saecircuits.edges.parts import THRESHOLD, Part
from saecircuits.errors import InputError, UnknownNameError
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.names import METRIC
from saecircuits.schema import Cell, Count, Findings, Number, RowsOf
from saecircuits.theory.best_paths import check_search
from saecircuits.theory.pooled_paths import strongest_pooled_paths
from saecircuits.theory.total_effects import arriving, influence
from saecircuits.torch_state import in_own_state

By: TypeAlias = Literal["edges", "parts"]
_KINDS: Final = {"tokens": "token", "errors": "error", "features": "feature"}


# A list in files.
Names: TypeAlias = Annotated[
    tuple[str, ...], BeforeValidator(lambda x: tuple(x) if isinstance(x, list) else x)
]


class PathRow(TypedDict):
    """One path; see `Routes.table`."""

    effect: float
    share: Cell
    nodes: Names
    parts: Names
    degree: Count | None
    features: Count


def _table(rows: Sequence[PathRow]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(PathRow.__annotations__)).astype(
        {"effect": float, "share": float, "degree": "Int64", "features": int}
    )


class Routes(Findings):
    """The strongest paths, and what the others carry; `paths.json` holds it key by key.

    Attributes:
        table: one row per path, strongest first. `effect` is signed, in logits (for paths to a
            feature in units of its activation, mean over its span's tokens); `share` is of
            `total`. `nodes` are ids from first to last. `parts` names the component of every step:
            by parts the one that the path takes, by edges the one that carries most of the edge
            over all (empty where edges have no parts). `degree` counts the components passed by
            these; empty where one is unknown. `features` counts the features between the ends.
        total: the sum of all paths from the sources to the target through the graph's features.
        whole: the gradient effects of the sources, summed; None for paths to a feature.
        through_errors: what of `whole` comes to an error node and goes on from there.
        beyond: what of `whole` comes to a node that no edges were computed into.
        choices: k, source, target, by and sign, as asked for.
        settings: linearization, error policy, positions and baseline of the graph.
        examined: beginnings of paths that were followed to prove that these are the strongest.
        is_complete: False if the search was ended after many of these: those listed are the
            strongest, but fewer than were asked for.
    """

    table: Annotated[pd.DataFrame, RowsOf(PathRow, _table)] = Field(
        validation_alias=AliasChoices("paths", "table"), serialization_alias="paths"
    )
    total: float
    whole: Number
    through_errors: Number
    beyond: Number
    choices: dict[str, Any]
    settings: dict[str, str]
    examined: Count
    is_complete: bool

    @model_validator(mode="before")
    @classmethod
    def _without_sums(cls, given: Any) -> Any:
        """Both sums follow from the others."""
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if key not in ("listed", "left")}

    @computed_field
    @property
    def listed(self) -> float:
        """The sum of the paths in the table."""
        return float(self.table["effect"].sum())

    @computed_field
    @property
    def left(self) -> float:
        """The sum of all other paths through the graph's features."""
        return self.total - self.listed

    def sentences(self, labels: Mapping[str, str] | None = None) -> list[str]:
        """One line to a path, then what they carry together.

        Args:
            labels: texts for some of the node ids, shown behind them.
        """
        labels = labels or {}
        lines = []
        for effect, share, nodes, parts in self.table[
            ["effect", "share", "nodes", "parts"]
        ].itertuples(index=False):
            way = _named(nodes[0], labels)
            for node, part in zip(nodes[1:], parts, strict=True):
                way += f" {f'-[{part}]' if part else '-'}-> {_named(node, labels)}"
            lines.append(f"{effect:+.3f} ({share:.1%}): {way}")
        return [*lines, self.account()]

    def account(self) -> str:
        """What the listed paths, and all others, carry, in a sentence or two."""
        unit = "logits" if self.choices["target"] == METRIC else "units of activation"
        text = (
            f"The {len(self.table)} paths listed carry {self.listed:+.3f} {unit}, all others "
            f"through the features of the graph {self.left:+.3f}; together {self.total:+.3f}."
        )
        if not self.is_complete:
            text += f" The search ended after {self.examined:,} beginnings: no more are proven."
        if self.whole is None:
            return text
        return (
            f"{text} The whole effect of where they begin is {self.whole:+.3f}: "
            f"{self.through_errors:+.3f} of it passes through error nodes, and {self.beyond:+.3f} "
            "through nodes to which no edges were computed."
        )


@in_own_state
def paths(
    graph: AttributionGraph,
    experiment: Experiment | None = None,
    *,
    k: int = 20,
    source: str | Sequence[str] | None = None,
    target: str = METRIC,
    by: str = "edges",
    sign: str = "either",
) -> Routes:
    """The k strongest paths of features, exactly, and the sum of all.

    Edges are recomputed prompt by prompt among the nodes that the graph's edges join, at the clean
    run, under its linearization, baseline and error policy. Paths pass through features; error
    nodes and tokens only begin them. Errors of a dictionary are vectors, and what runs into one is
    summed up in `through_errors`.

    Args:
        graph: from `attribute`, or read from disk.
        experiment: what the graph was computed in: `graph.on(model, task.train)` for a graph read
            from disk, and by default the graph's own.
        k: how many paths.
        source: where paths begin: `tokens`, `errors`, `features`, a node id, or several ids. If
            None, what nothing upstream accounts for: tokens, and under the policy `hold` errors.
        target: where they end: the metric, or the id of a feature node.
        by: `edges`: a step is an edge, all its components together; `parts`: a step is one
            component of an edge, and two paths through other components are two paths.
        sign: `either`, or only `positive` or `negative` paths.

    Raises:
        InputError: a graph read from disk and no experiment; k below 1; a source or target that
            has no edges or is of the wrong kind; parts without the factorised engine.
        UnknownNameError: a choice or node that does not exist.
    """
    check_routes(k, sign=sign, by=by)
    found = linear_graph(graph, experiment, is_split=by == "parts")
    return paths_of(found, graph, k=k, source=source, target=target, by=by, sign=sign)


def check_routes(k: int, *, sign: str, by: str) -> None:
    """Refuses a search for paths that cannot be meant; see `paths`.

    Raises:
        InputError: k below 1.
        UnknownNameError: no such sign, or unit of a step.
    """
    check_search(k, sign)
    if by not in get_args(By):
        raise UnknownNameError("by", by, get_args(By))


def paths_of(
    linear: LinearGraph,
    graph: AttributionGraph,
    *,
    k: int,
    source: str | Sequence[str] | None,
    target: str,
    by: str,
    sign: str,
) -> Routes:
    """As `paths`, of a linear graph that is there already; see there."""
    pooled = linear.pooled
    start, readout, end = ends_of(linear, graph, source=source, target=target)
    total = float(start @ influence(pooled.A, readout))
    found = strongest_pooled_paths(pooled, start, readout, end=end, k=k, sign=sign)
    main = _main_parts(graph.edge_parts) if by == "edges" else {}
    rows = []
    for path in found.paths:
        numbers = [pooled.link_source[path.links[0]], *pooled.link_target[list(path.links)]]
        nodes = tuple(linear.nodes[number] for number in numbers)
        if by == "edges":
            parts = tuple(main.get(ends, "") for ends in pairwise(nodes))
        else:
            parts = tuple(linear.parts[link] for link in path.links)
        rows.append(
            {
                "effect": path.effect,
                "share": path.effect / total if total else float("nan"),
                "nodes": nodes,
                "parts": parts,
                "degree": _degree(parts),
                "features": len(nodes) - 2,
            }
        )
    whole = through_errors = beyond = None
    if target == METRIC:
        n_prompt = int((pooled.cell_node == end).sum())
        arrived = arriving(pooled.A, start)
        whole = float(linear.effect[start != 0].sum()) / n_prompt
        through_errors = float(arrived @ linear.into_errors) / n_prompt
        beyond = whole - total - through_errors
    settings = graph.settings.model_dump()
    return Routes(
        table=_table(rows),
        total=total,
        whole=whole,
        through_errors=through_errors,
        beyond=beyond,
        choices={
            "k": k,
            "source": source if source is None or isinstance(source, str) else list(source),
            "target": target,
            "by": by,
            "sign": sign,
        },
        settings={
            name: settings[name]
            for name in ("linearization", "error_policy", "positions", "baseline")
        },
        examined=found.examined,
        is_complete=found.is_complete,
    )


def ends_of(
    linear: LinearGraph,
    graph: AttributionGraph,
    *,
    source: str | Sequence[str] | None,
    target: str,
) -> tuple[Float[np.ndarray, " n_cell"], Float[np.ndarray, " n_cell"], int]:
    """What paths begin with at every cell, the weight of every cell as their end, and the end."""
    cell_node = linear.pooled.cell_node
    end = _number(linear, target)
    if target != METRIC and _kind(target) != "feature":
        raise InputError(f"paths end in the metric or in a feature; {target!r} is neither")
    starts = linear.cells_of(_sources(linear, source, graph.settings.error_policy))
    start = np.where(starts & (cell_node < end), linear.change, 0.0)
    return start, np.where(cell_node == end, linear.average, 0.0), end


def _sources(
    linear: LinearGraph, source: str | Sequence[str] | None, error_policy: str
) -> list[int]:
    """Numbers of the nodes at which paths begin."""
    if source is None:
        kinds = {"token", "error"} if error_policy == "hold" else {"token"}
    elif isinstance(source, str) and source in _KINDS:
        kinds = {_KINDS[source]}
    else:
        names = [source] if isinstance(source, str) else source
        if METRIC in names:
            raise InputError("no path begins at the metric; give a token, an error or a feature")
        return [_number(linear, name) for name in names]
    return [number for number, name in enumerate(linear.nodes) if _kind(name) in kinds]


def _number(linear: LinearGraph, node: str) -> int:
    if node not in linear.nodes:
        raise UnknownNameError("node with edges", node, [*linear.nodes, *_KINDS])
    return linear.nodes.index(node)


def _kind(node: str) -> str:
    if node == METRIC:
        return METRIC
    member = node.partition("@")[0].rpartition(".")[2]
    return member if member in ("token", "error") else "feature"


def _main_parts(edge_parts: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Of every edge, the component that carries most of it; thresholds are no component."""
    components = edge_parts[edge_parts["part"] != THRESHOLD]
    order = np.argsort(-components["effect"].abs().to_numpy(), kind="stable")
    main = components.iloc[order].drop_duplicates(["source", "target"])
    ends = zip(main["source"], main["target"], strict=True)
    return dict(zip(ends, main["part"], strict=True))


def _degree(parts: Sequence[str]) -> int | None:
    degrees = [None if part in ("", UNSPLIT) else Part(part).degree for part in parts]
    return None if None in degrees else sum(d for d in degrees if d is not None)


def _named(node: str, labels: Mapping[str, str]) -> str:
    return f"{node} ({labels[node]})" if node in labels else node
