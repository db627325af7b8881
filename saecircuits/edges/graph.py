"""The attribution graph: nodes and edges as tables, with everything they depend on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from saecircuits.choices import name_of
from saecircuits.edges.columns import EDGE_TABLE, NODE_TABLE, PART_TABLE, names_of
from saecircuits.edges.memory import plan_memory
from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import InputError
from saecircuits.nodes.contrast import TOKENS
from saecircuits.nodes.effects import ROUNDING, NodeEffects, bootstrap_interval, sign_stability
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.nodes.names import METRIC, node_id
from saecircuits.nodes.units import Units
from saecircuits.splicing import SplicedModel, require_same_model
from saecircuits.splicing.sites import TOKEN_HOOK
from saecircuits.tasks import Prompts

NODE_COLUMNS: Final = names_of(NODE_TABLE)
EDGE_COLUMNS: Final = names_of(EDGE_TABLE)
PART_COLUMNS: Final = names_of(PART_TABLE)


@dataclass(frozen=True, eq=False, repr=False)
class AttributionGraph:
    """Nodes and edges of one task on one model.

    Attributes:
        nodes: one row per node that differs from its baseline on some prompt, strongest first;
            columns `edges.columns.NODE_TABLE`.
        edges: one row per direct edge among the strongest nodes and to the metric; columns
            `EDGE_TABLE`.
        edge_parts: per edge one row for each component that carries it (names: `edges.parts`), mean
            over prompts; columns `PART_TABLE`. No rows where the factorised engine did not give the
            edges.
        settings: how it was computed.
        summary: figures about the whole: metric clean and at baseline, completeness gap per site,
            how many nodes edges were computed among and what share of all |effect| they carry, and
            `scores`: what goes by features and what by errors (`edges.graph_scores.GraphScores`).
        provenance: model, dictionaries and prompts, by digest.
        experiment: what it was computed in, and can measure and compute more in; None for a graph
            read from disk (`on` gives it one again).
    """

    nodes: pd.DataFrame
    edges: pd.DataFrame
    edge_parts: pd.DataFrame
    settings: AttributionSettings
    summary: Mapping[str, Any]
    provenance: Mapping[str, Any]
    experiment: Experiment | None = None

    def __repr__(self) -> str:
        prompts = self.summary.get("prompts", "?")
        return (
            f"AttributionGraph({len(self.nodes)} nodes, {len(self.edges)} edges, {prompts} prompts)"
        )

    def on(self, model: SplicedModel, prompts: Prompts, **choices: Any) -> Experiment:
        """The experiment that the graph was computed in, made anew.

        Args:
            choices: what a file does not hold: `reference`, where another set of prompts supplied
                the baselines, and a `baseline` of your own.

        Raises:
            InputError: a model or prompts other than the graph's; too little memory.
        """
        plan = plan_memory(model, prompts, self.settings)
        known = self.settings.of_experiment | plan.of_experiment | choices
        return self.checked(Experiment(model, prompts, **known))

    def checked(self, experiment: Experiment | None) -> Experiment:
        """This experiment, or the graph's own, for what is computed on the graph's prompts.

        Raises:
            InputError: an experiment of another model, other prompts or other choices; none, for a
                graph read from disk.
        """
        if experiment is None:
            if self.experiment is None:
                raise InputError(
                    "this graph was read from disk and has no model or prompts to measure on; give "
                    "experiment=graph.on(model, task.train)"
                )
            return self.experiment
        require_same_model(experiment.model, self.provenance, what="graph")
        for name in ("prompts", "reference"):
            if experiment.provenance.get(name) != self.provenance.get(name):
                raise InputError(
                    f"the graph was computed from other {name} than those given; give the graph's "
                    "own, such as task.train, all of them"
                )
        for name, own in self.settings.of_experiment.items():
            # How many prompts go through at a time is no part of what is measured.
            given = getattr(experiment, name)
            if name == "baseline":
                given, own = name_of(given), name_of(own)
            if name != "batch_size" and given != own:
                raise InputError(
                    f"the graph was computed with {name}={own!r} and the experiment has "
                    f"{given!r}; give graph.on(model, prompts)"
                )
        return experiment


def node_table(
    model: SplicedModel, units: Units, effects: NodeEffects, *, seed: int
) -> pd.DataFrame:
    """The rows of `graph.nodes` for every node that differs from its baseline, strongest first."""
    changed = np.union1d(
        _columns_above_rounding(effects.activations - effects.baselines),
        _columns_above_rounding(effects.effects),
    )
    per_prompt = effects.effects[:, changed]
    low, high = bootstrap_interval(per_prompt, seed=seed)
    spots = [effects.index.spot(int(column)) for column in changed]
    table = pd.DataFrame(
        {
            "node": [node_id(model, units.names, spot) for spot in spots],
            "site": [TOKEN_HOOK if s.place == TOKENS else model.hooks[s.place] for s in spots],
            "layer": [_layer(model, spot) for spot in spots],
            "kind": [_kind(spot) for spot in spots],
            "feature": pd.array(
                [spot.feature if _kind(spot) == "feature" else None for spot in spots],
                dtype="Int64",
            ),
            "position": [spot.unit for spot in spots],
            "span": [units.names[spot.unit] for spot in spots],
            "token": [units.tokens[spot.unit] for spot in spots],
            "activation": _mean(effects.activations[:, changed]),
            "baseline": _mean(effects.baselines[:, changed]),
            "effect": _mean(per_prompt),
            "effect_low": low,
            "effect_high": high,
            "sign_stability": sign_stability(per_prompt),
            "left_out": np.full(len(spots), np.nan),
        },
        columns=list(NODE_COLUMNS),
    )
    # Ties are broken by id, so that equal runs give equal files.
    order = np.lexsort((table["node"].to_numpy(str), -table["effect"].abs().to_numpy()))
    return table.iloc[order].reset_index(drop=True)


def metric_row(
    model: SplicedModel, units: Units, ends: NDArray[np.float64], *, seed: int
) -> pd.DataFrame:
    """The metric as a node: its effect is the whole change from baseline to clean.

    Args:
        ends: `[2, prompt]`: the metric with every node clean, and with every node at baseline.
    """
    changes = ends[0] - ends[1]
    low, high = bootstrap_interval(changes[:, None], seed=seed)
    row = {
        "node": METRIC,
        "site": "",
        "layer": int(model.bridge.cfg.n_layers),
        "kind": METRIC,
        "feature": pd.NA,
        "position": len(units) - 1,
        "span": units.names[-1],
        "token": units.tokens[-1],
        "activation": float(ends[0].mean()),
        "baseline": float(ends[1].mean()),
        "effect": float(changes.mean()),
        "effect_low": low[0],
        "effect_high": high[0],
        "sign_stability": sign_stability(changes[:, None])[0],
        "left_out": np.nan,
    }
    return pd.DataFrame([row], columns=list(NODE_COLUMNS)).astype({"feature": "Int64"})


def _columns_above_rounding(values: sparse.csr_matrix) -> NDArray[np.int64]:
    """Columns with an entry that is more than rounding, a millionth of the largest.

    What clean and corrupted prompts share can still differ in the last digits, where the two were
    computed in batches of different lengths.
    """
    size = np.abs(values.tocoo().data)
    if not len(size):
        return np.array([], dtype=np.int64)
    return np.unique(values.tocoo().col[size > ROUNDING * size.max()]).astype(np.int64)


def _mean(per_prompt: sparse.csr_matrix) -> NDArray[np.float64]:
    return np.asarray(per_prompt.mean(axis=0)).ravel()


def _kind(spot: Spot) -> str:
    if spot.place == TOKENS:
        return "token"
    return "error" if spot.feature == ERROR else "feature"


def _layer(model: SplicedModel, spot: Spot) -> int:
    # The embedding stands below the first block.
    return -1 if spot.place == TOKENS else model.splices[spot.place].site.layer
