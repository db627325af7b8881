"""Circuits, reports and labels made up from a seed: any size, any text, no model."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from saecircuits.circuits import Circuit
from saecircuits.edges.graph import EDGE_COLUMNS, NODE_COLUMNS, PART_COLUMNS
from saecircuits.edges.settings import AttributionSettings
from saecircuits.features.dashboards import (
    QUARTERS,
    CorpusRecord,
    Dashboard,
    Histogram,
    Neighbour,
    OwnDashboard,
    Quantile,
    ShownContext,
    quarter_name,
)
from saecircuits.features.labels import FeatureLabel
from saecircuits.nodes.names import METRIC
from saecircuits.publication.contents import Contents
from saecircuits.publication.page_data import page_data
from saecircuits.publication.page_shape import PageData
from saecircuits.runs.degrees import DegreeRow, DegreesRecord
from saecircuits.runs.records import CircuitRecord
from saecircuits.validation import ValidationReport

SITES = ("hook_attn_out", "hook_mlp_out", "hook_resid_post")
DIGEST = "ab" * 32


def made_circuit(
    *, n_units: int = 3, n_layers: int = 2, n_nodes: int = 30, n_edges: int = 50, seed: int = 0
) -> Circuit:
    """Random features and error nodes at attention, MLP and residual sites, and all tokens."""
    draw = random.Random(seed)
    units = [f"unit {number}" for number in range(n_units)]
    tokens = [draw.choice([" girl", ".", "\n", " <b>", " went to the park"]) for _ in units]

    def row(node: str, site: str, layer: int, kind: str, feature: int | None, unit: int) -> dict:
        effect = draw.gauss(0, 2)
        values = (node, site, layer, kind, feature, unit, units[unit], tokens[unit])
        ends = (effect - 0.1, effect + 0.1)
        numbers = (draw.random(), draw.random(), effect, *ends, draw.random(), effect / 2)
        return dict(zip(NODE_COLUMNS, (*values, *numbers), strict=True))

    rows = [
        row(f"token@{unit}", "hook_embed", -1, "token", None, i) for i, unit in enumerate(units)
    ]
    places = [(layer, kind) for layer in range(n_layers) for kind in SITES]
    taken = set()
    while len(taken) < n_nodes:
        layer, kind = draw.choice(places)
        feature = draw.choice([None, *range(40)])
        unit = draw.randrange(n_units)
        site = f"blocks.{layer}.{kind}"
        what = "error" if feature is None else f"f{feature}"
        name = f"{site}.{what}@{units[unit]}"
        if name not in taken:
            taken.add(name)
            rows.append(
                row(name, site, layer, "error" if feature is None else "feature", feature, unit)
            )
    rows.sort(key=lambda found: -abs(found["effect"]))
    rows.insert(0, row(METRIC, "", n_layers, METRIC, None, n_units - 1))
    nodes = pd.DataFrame(rows, columns=list(NODE_COLUMNS)).astype({"feature": "Int64"})
    edges = _edges(nodes, draw, n_edges)
    return Circuit(
        nodes=nodes,
        edges=edges,
        edge_parts=_parts(edges),
        candidates=tuple(nodes.loc[nodes["kind"].isin(["feature", "error"]), "node"]),
        settings=AttributionSettings(),
        selection={"by": "effect", "nodes": n_nodes},
        summary={"metric_clean": 3.25, "metric_baseline": -1.5, "edge_nodes": n_nodes,
                 "edge_nodes_share_of_effect": 0.875, "scores": SCORES, "places": []},
        provenance={"model": "made", "model_digest": DIGEST, "dtype": "float32",
                    "dictionaries": {"blocks.0.hook_mlp_out": DIGEST}, "prompts": DIGEST},
    )  # fmt: skip


# Of a made graph: what goes by features works against the metric.
SCORES = {
    "replacement": 0.5625,
    "replacement_low": 0.5,
    "replacement_high": 0.625,
    "completeness": 0.875,
    "tokens": 8.0,
    "by_features": -2.0,
    "features_share": -0.25,
}


def fitted(circuit: Circuit) -> Circuit:
    """The same with a measured fit of its first two dictionaries, the second of which has features
    with signs and a source that states nothing.
    """
    sites = sorted({site for site in circuit.nodes["site"] if site.startswith("blocks")})[:2]
    figures = {"variance_explained": 0.8125, "l0": 1021.25, "tokens": 88}
    stated = [
        {"stated_variance_explained": 0.875, "stated_l0": 1020.5},
        {"stated_variance_explained": None, "stated_l0": None},
    ]
    fits = [{**figures, "site": site, **said} for site, said in zip(sites, stated, strict=False)]
    return replace(
        circuit,
        summary={**circuit.summary, "fit": fits},
        provenance={**circuit.provenance, "signed": sites[1:]},
    )


def made_report(**changes: object) -> ValidationReport:
    """A report with plain figures; any of them can be given."""
    figures = {
        "ablate": "nodes",
        "baseline": "corrupted",
        "error_policy": "recompute",
        "prompts": 24,
        "nodes": 30,
        "errors": 4,
        "metric_clean": 3.25,
        "metric_baseline": -1.5,
        "faithfulness": 0.875,
        "faithfulness_low": 0.75,
        "faithfulness_high": 0.9375,
        "completeness": 0.125,
        "faithfulness_without_errors": 0.5,
        "all_features_without_errors": 0.625,
        "error_share": 0.4375,
        "random": {"count": 2, "median": 0.0, "low": -0.125, "high": 0.125, "values": [-0.1, 0.1]},
        "curve": pd.DataFrame(
            {
                "nodes": [1, 2],
                "faithfulness": [0.25, 0.5],
                "faithfulness_low": [float("nan"), 0.25],
                "faithfulness_high": [float("nan"), 0.75],
                "faithfulness_without_errors": [0.125, 0.25],
            }
        ),
        "accuracy": {"clean": 1.0, "circuit": 0.75},
        "calibration": None,
    }
    return ValidationReport(**{**figures, **changes})


def page_of(
    circuit: Circuit,
    labels: Sequence[FeatureLabel],
    report: ValidationReport | None,
    *,
    record: CircuitRecord,
    title: str,
    **others: Any,
) -> PageData:
    """The data of a page about these."""
    contents = Contents(circuit, record, report=report, labels=labels, **others)
    return page_data(contents, title=title)


def made_degrees() -> DegreesRecord:
    """A metric of 3 logits: 1 - 2 + 4.5 by degree, and a constant of -0.5."""
    rows = ((1, 1.0, 0.125), (4, -2.0, 0.25), (6, 4.5, 0.625))
    return DegreesRecord(
        operator="secant",
        prompts=16,
        prompts_digest=DIGEST,
        value=3.0,
        constant=-0.5,
        degrees=tuple(
            DegreeRow(
                degree=degree, paths=paths, effect=effect, effect_low=effect - 0.25,
                effect_high=effect + 0.25, share=share,
            )
            for degree, (paths, effect, share) in enumerate(rows)
        ),
        note="Exact for the frozen operator.",
    )  # fmt: skip


def made_labels(circuit: Circuit, text: str = "girl, woman | +She") -> tuple[FeatureLabel, ...]:
    """The same label for every feature."""
    features = circuit.nodes[circuit.nodes["kind"] == "feature"]
    return tuple(
        FeatureLabel(
            site=site,
            feature=feature,
            text=text,
            top_tokens=(),
            contexts=(),
            promoted=(),
            suppressed=(),
            density=0.5,
            n_tokens=100,
            examples=50,
        )
        for site, feature in sorted(
            set(zip(features["site"], map(int, features["feature"]), strict=True))
        )
    )


def made_dashboards(circuit: Circuit) -> tuple[Dashboard, ...]:
    """The same dashboard for every feature, with a histogram and a neighbour."""
    counts = (5, 3, 0, 1)
    corpus = CorpusRecord(source="made up", licence="CC0-1.0", tokens=100, is_shown=False)
    return tuple(
        Dashboard(
            index=label.feature,
            transcoder_id=label.site,
            examples_quantiles=tuple(
                Quantile(
                    quantile_name=quarter_name(low, high),
                    examples=(
                        ShownContext(
                            tokens=("far", *(f" word{place}" for place in range(11)), " peak", "."),
                            tokens_acts_list=(9.0, *[0.0] * 11, peak, 0.0),
                            train_token_ind=12,
                        ),
                    ),
                )
                for (low, high), peak in zip(QUARTERS, (3.0, 1.5, 0.75, 0.25), strict=True)
            ),
            top_logits=(),
            bottom_logits=(),
            act_min=0.0,
            act_max=4.0,
            quantile_values=(0.1, 0.5, 1.0, 2.0, 4.0),
            histogram=counts,
            activation_frequency=0.09,
            saecircuits=OwnDashboard(
                site=label.site,
                feature=label.feature,
                label=label.text,
                too_few=False,
                active=sum(counts),
                in_task=1,
                max_activation=4.0,
                top_tokens=(),
                promoted=(),
                suppressed=(),
                histogram=Histogram(edges=(0.0, 1.0, 2.0, 3.0, 4.0), counts=counts),
                neighbours=(Neighbour(feature=39, cosine=0.875),),
                neuronpedia="https://neuronpedia.example/39",
                corpus=corpus,
            ),
        )
        for label in made_labels(circuit)
    )


def _edges(nodes: pd.DataFrame, draw: random.Random, count: int) -> pd.DataFrame:
    """Edges from lower to higher layers, with no linear weight at error nodes."""
    ends = list(zip(nodes["node"], nodes["layer"], nodes["kind"], strict=True))
    pairs = [
        (source, target, "error" in (kind, other))
        for source, low, kind in ends
        for target, high, other in ends
        if low < high
    ]
    rows = []
    for source, target, has_error in draw.sample(pairs, min(count, len(pairs))):
        effect = draw.gauss(0, 1)
        direct = float("nan") if has_error else draw.random()
        ends = (effect - 0.1, effect + 0.1)
        rows.append((source, target, effect, direct, *ends, draw.random()))
    rows.sort(key=lambda row: -abs(row[2]))
    return pd.DataFrame(rows, columns=list(EDGE_COLUMNS))


def _parts(edges: pd.DataFrame) -> pd.DataFrame:
    """Each edge goes for a quarter through a head, and for the rest through the stream."""
    rows = [
        part
        for source, target, effect in edges[["source", "target", "effect"]].to_numpy().tolist()
        for part in (
            (
                source,
                target,
                "residual",
                0,
                0.75 * effect,
                float("nan"),
                float("nan"),
                float("nan"),
            ),
            (source, target, "L1.H0", 1, 0.25 * effect, 0.5 * effect, -0.25 * effect, 0.0),
        )
    ]
    return pd.DataFrame(rows, columns=list(PART_COLUMNS)).astype({"degree": "Int64"})
