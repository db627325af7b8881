"""Every law on a device that is not there: nothing is mixed with the CPU, and nothing changes.

The device is pretended (`tests.pretended`): it refuses what a GPU refuses, and computes what the
CPU computes. So each law is asked for its figures on both, and they are the same.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import torch

import saecircuits as sc
from saecircuits import heads
from saecircuits.circuits.masks import MaskSettings, rank_by_masks
from saecircuits.circuits.selection import Method
from saecircuits.edges.graph import AttributionGraph
from saecircuits.expansion.metric_degrees import metric_degrees
from saecircuits.features.corpus import corpus_of_text, read_features
from saecircuits.features.dashboard_making import nearest_rows
from saecircuits.features.texts import Contexts, generate_text
from saecircuits.splicing import Dictionary
from saecircuits.tasks import Task
from tests.cross_layer import cross_layer_toy
from tests.model_folder import write_model_folder, write_task
from tests.models import (
    boot_again,
    build_bridge,
    build_gemma2,
    build_llama,
    build_rotary_toy,
    spliced_toy,
)
from tests.pretended import pretending

PROMPT = "w4 w9 w2 w7"
CONTEXTS = Contexts(text=torch.arange(12).reshape(2, 6), source="a test", licence="none")


@dataclass(frozen=True)
class Files:
    """Saved models and prompts, from which everything is loaded on each device anew."""

    gpt2: Path
    llama: Path
    gemma2: Path
    tiny: Path
    task: Path


class Place:
    """A device, and what is there; made when it is first asked for, but for models."""

    def __init__(self, device: str, files: Files) -> None:
        self.device, self.files = device, files
        gpt2, again, llama, gemma2 = (
            boot_again(folder) for folder in (files.gpt2, files.gpt2, files.llama, files.gemma2)
        )
        with self.inside():
            for bridge in (gpt2, again, llama, gemma2):
                bridge.to(device)
            self.model = spliced_toy(gpt2, mixed=True).model
            self.streams = spliced_toy(again).model
            self.crossing = cross_layer_toy(again, "hook_resid_mid").model
            self.llama = build_rotary_toy(llama, d_model=20, d_heads=24).model
            self.gemma2 = build_rotary_toy(gemma2, d_model=28, d_heads=24).model

    def inside(self) -> AbstractContextManager[None]:
        """Where everything about this place has to run."""
        return nullcontext() if self.device == "cpu" else pretending(self.device)

    @cached_property
    def task(self) -> Task:
        return sc.load_task(str(self.files.task), self.model, limit=3)

    @cached_property
    def graph(self) -> AttributionGraph:
        return sc.attribute(self.model, self.task.train, max_nodes=9)

    @property
    def circuit(self) -> sc.Circuit:
        return sc.prune(self.graph, nodes=6, edges=8)


def _graph(**choices: Any) -> Callable[[Place, Path], Any]:
    def law(at: Place, folder: Path) -> Any:
        graph = sc.attribute(at.model, at.task.train, **{"max_nodes": 6, **choices})
        return [graph.nodes, graph.edges, graph.edge_parts]

    return law


def _families(engine: str, **choices: Any) -> Callable[[Place, Path], Any]:
    def law(at: Place, folder: Path) -> Any:
        graphs = [
            sc.attribute(model, at.task.train, engine=engine, max_nodes=8, **choices)
            for model in (at.llama, at.gemma2)
        ]
        return [table for graph in graphs for table in (graph.nodes, graph.edges)]

    return law


def _kept(method: Method, **size: Any) -> Callable[[Place, Path], Any]:
    def law(at: Place, folder: Path) -> Any:
        return list(sc.prune(at.graph, method=method, **size).members)

    return law


def _masks(at: Place, folder: Path) -> Any:
    nodes = list(at.circuit.members)
    return rank_by_masks(at.graph.checked(None), nodes, 0.5, MaskSettings(steps=3))


def _validated(**choices: Any) -> Callable[[Place, Path], Any]:
    def law(at: Place, folder: Path) -> Any:
        report = sc.validate(
            at.model, at.circuit, at.task.test, reference=at.task.train, n_random=2, **choices
        )
        return report.to_json()

    return law


def _crossing(at: Place, folder: Path) -> Any:
    graph = sc.attribute(at.crossing, at.task.train, max_nodes=6)
    circuit = sc.prune(graph, nodes=4, edges=6)
    report = sc.validate(at.crossing, circuit, at.task.test, ablate="edges", n_random=1)
    joint = sc.calibrate(at.crossing, graph, at.task.train, n_nodes=2, n_edges=2, against="joint")
    return [graph.nodes, graph.edges, report.to_json(), joint]


def _heads(at: Place, folder: Path) -> Any:
    model = at.streams
    tokens = heads.repeated_tokens(model, prompts=3, length=4)
    virtual = heads.virtual_head(model, PROMPT, (0, 1), (2, 0))
    trigrams = heads.skip_trigrams(model, 0, 1)
    return [
        *(sc.attention(model, PROMPT, 1, 0, by=by).to_json() for by in ("features", "components")),
        heads.carriers(model, PROMPT, (0, 1), (2, 0)),
        heads.ov(model, 1, 0),
        heads.qk(model, 1, 0),
        heads.moved(model, PROMPT, 1, 0),
        heads.behaviours(model, prompts=3, length=4),
        # As a caller would give them: tokens of the CPU.
        heads.path_effects(model, tokens.cpu(), (0, 1), (2, 0), offset=3, start=5),
        heads.direct_path(model),
        *vars(trigrams).values(),
        *vars(virtual).values(),
    ]


def _expanded(at: Place, folder: Path) -> Any:
    expansion = sc.expand(at.model, PROMPT, corrupted="w4 w9 w3 w7", naive_limit=9)
    features = [expansion.feature(hook, 3) for hook in at.model.hooks]
    # As a caller would give it: tokens of the CPU.
    trees = sc.treeify(at.model, torch.tensor([0, 4, 9]), by="head")
    return [
        expansion.to_json(),
        *(figure for readout in features for figure in vars(readout).values()),
        trees.paths(limit=9).to_json(),
        *vars(metric_degrees(at.model, at.task.train)).values(),
    ]


def _interactions(at: Place, folder: Path) -> Any:
    members = [node for node in at.graph.nodes["node"] if node.startswith("blocks")]
    return [
        sc.interactions(at.model, at.task.test, members[:3]).to_json(),
        sc.interactions(at.model, at.task.test, ["L0.ATTN", "L1.H0", "L2.MLP"]).to_json(),
        sc.interactions(
            at.model, at.task.test, members[-11:], baseline="zero", draws=1, rest="clean"
        ).to_json(),
    ]


def _features(at: Place, folder: Path) -> Any:
    model = at.streams
    hook = model.hooks[1]
    text = generate_text(model, n_tokens=40, seed=3)
    read = read_features(model, corpus_of_text(text, bos=0), {hook: [3, 1]})
    near = list(nearest_rows(model.splices[1].dictionary.W_dec, [0, 5], count=3))
    return [text, read[hook].toarray(), near]


def _discovered(at: Place, folder: Path) -> Any:
    settings = sc.AttributionSettings(max_nodes=8)
    model = at.streams.at(at.streams.hooks[1:2])
    run = sc.discover(model, at.task, folder, settings=settings, nodes=4, contexts=CONTEXTS)
    looked = sorted(path for path in (folder / "features").iterdir())
    return [run.report.to_json(), *(path.read_text(encoding="utf-8") for path in looked)]


def _loaded(at: Place, folder: Path) -> Any:
    model = sc.load_model(at.files.tiny, device=at.device, dtype="float32")
    assert str(model.device) == at.device
    return model.describe()


LAWS: dict[str, Callable[[Place, Path], Any]] = {
    "load": _loaded,
    "attribute": _graph(),
    "attribute, reference": _graph(engine="reference"),
    "attribute, frozen": _graph(linearization="frozen", positions="each"),
    "attribute, secant": _graph(linearization="secant", error_policy="hold"),
    "attribute, held thresholds": _graph(thresholds="held", baseline="resample"),
    "attribute, integrated": _graph(estimator="integrated_gradients", edge_steps=1, max_nodes=4),
    "attribute, intervention": _graph(estimator="intervention", baseline="mean", max_nodes=4),
    "cross-layer": _crossing,
    "families, factorised": _families("factorised"),
    "families, reference": _families("reference", baseline="zero"),
    "prune by effect": _kept("effect", faithfulness=0.4),
    "prune by sign": _kept("signed", faithfulness=0.4),
    "prune by paths": _kept("paths", nodes=4),
    "prune greedily": _kept("greedy", faithfulness=0.4),
    "prune by masks": _masks,
    "validate by nodes": _validated(
        baseline=["corrupted", "mean", "zero", "resample"], with_drops=True
    ),
    "validate by edges": _validated(ablate="edges"),
    "calibrate": lambda at, folder: sc.calibrate(
        at.model, at.graph, at.task.train, n_nodes=5, n_edges=5
    ),
    "calibrate jointly": lambda at, folder: sc.calibrate(
        at.model, at.graph, at.task.train, n_nodes=2, n_edges=2, against="joint"
    ),
    "paths": lambda at, folder: sc.paths(at.graph, k=5).to_json(),
    "paths by parts": lambda at, folder: [
        sc.paths(at.graph, k=5, by="parts").to_json(),
        sc.path_degrees(at.graph),
    ],
    "composition": lambda at, folder: [
        sc.composition(at.streams),
        sc.composition(at.streams, PROMPT),
    ],
    "heads": _heads,
    "expand and treeify": _expanded,
    "interactions": _interactions,
    "linearity": lambda at, folder: sc.linearity(
        at.streams.at(at.streams.hooks[1:2]),
        at.task.test,
        n_nodes=3,
        n_edges=2,
        n_neurons=1,
        points=3,
    ).to_json(),
    "hypotheses": lambda at, folder: sc.hypotheses(
        at.model, at.circuit, at.task.test, n_random=3
    ).to_json(),
    "baselines": lambda at, folder: sc.baselines(
        at.streams.at(at.streams.hooks[1:2]), at.task, sizes=[2]
    ).to_json(),
    "generation and readings": _features,
    "discover": _discovered,
}


# Where sums are widened; the rules for two devices are the same whatever the device is called.
WITHOUT_FLOAT64 = (
    "load",
    "attribute, reference",
    "families, factorised",
    "prune by masks",
    "validate by nodes",
    "calibrate jointly",
    "hypotheses",
    "generation and readings",
)


@pytest.fixture(scope="module", autouse=True)
def _shapes_unchecked() -> Iterator[None]:
    """Shapes are checked by the same computations elsewhere; here they would take half the time."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    root = tmp_path_factory.mktemp("devices")
    found = Files(*(root / name for name in ("gpt2", "llama", "gemma2", "tiny", "words.jsonl")))
    write_model_folder(found.tiny)
    for build, folder in ((build_bridge, found.gpt2), (build_llama, found.llama)):
        build(folder)
    build_gemma2(found.gemma2)
    write_task(found.task, n_pairs=6)
    return found


@pytest.fixture(scope="module")
def here(files: Files) -> Place:
    return Place("cpu", files)


@pytest.fixture(scope="module")
def cuda(files: Files) -> Place:
    return Place("cuda:0", files)


@pytest.fixture(scope="module")
def mps(files: Files) -> Place:
    return Place("mps:0", files)


@pytest.mark.parametrize("law", LAWS)
def test_a_law_holds_on_cuda_with_the_same_figures(
    law: str, here: Place, cuda: Place, tmp_path: Path
) -> None:
    _same(law, here, cuda, tmp_path)


@pytest.mark.parametrize("law", WITHOUT_FLOAT64)
def test_a_law_holds_on_mps_with_the_same_figures(
    law: str, here: Place, mps: Place, tmp_path: Path
) -> None:
    _same(law, here, mps, tmp_path)


def test_an_index_that_an_engine_makes_on_the_cpu_is_caught(
    cuda: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(dictionary: Dictionary, features: Sequence[int]) -> torch.Tensor:
        return torch.tensor(features, dtype=torch.long, device="cpu")

    monkeypatch.setattr(Dictionary, "indices", planted)
    with cuda.inside(), pytest.raises(RuntimeError, match=r"cuda:0(,| and) cpu"):
        sc.attribute(cuda.model, cuda.task.train, engine="reference", max_nodes=4)


def _same(law: str, here: Place, there: Place, tmp_path: Path) -> None:
    expected = LAWS[law](here, tmp_path / "here")
    with there.inside():
        assert str(there.model.device) == there.device
        found = LAWS[law](there, tmp_path / "there")
    pairs = list(zip(_figures(found), _figures(expected), strict=True))
    assert len(pairs) > 2
    for one, other in pairs:
        if isinstance(other, float):
            other = pytest.approx(other, rel=1e-4, abs=1e-5, nan_ok=True)
        assert one == other


def _figures(value: Any) -> Iterator[Any]:
    """Every number and text of a result, in order."""
    match value:
        case dict():
            for key, inner in value.items():
                yield from _figures([str(key), inner])
        case pd.DataFrame():
            for column in value:
                yield from _figures([str(column), value[column].tolist()])
        case np.ndarray() | torch.Tensor():
            yield from _figures(value.tolist())
        case np.generic():
            yield value.item()
        case str() | int() | float() | None:
            yield value
        case Sequence():
            for inner in value:
                yield from _figures(inner)
        case _:
            yield from _figures(vars(value))
