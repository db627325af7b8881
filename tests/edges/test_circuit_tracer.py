"""Edges of cross-layer transcoders are those of another program, circuit-tracer 0.5.0.

It holds attention patterns and norm scales (`frozen` here), counts every feature from 0, and has
edges into features and logits alone. `circuit_tracer/README.md` says what was compared, and how the
files were made.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import sparse
from transformer_lens.model_bridge import TransformerBridge

from saecircuits.edges.influence import InfluenceFlow
from saecircuits.edges.reference import ReferenceEdges
from saecircuits.nodes.baselines import Baseline, Batch, Values
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.splicing import splice
from saecircuits.splicing.cross_layer_folder import read_cross_layer
from saecircuits.tasks import PromptPair, tokenize
from saecircuits.theory.graph_scores import unsigned_scores
from tests.models import build_tokenizer, make_contrast

MADE = Path(__file__).parent / "circuit_tracer"


class Nothing(Baseline):
    """Everything at zero, tokens too."""

    name = "nothing"
    description = "zero"

    def values(self, batch: Batch) -> Values:
        return [torch.zeros_like(value) for value in batch.clean]


def _contrast(folder: Path, graph: dict[str, torch.Tensor], copy: Path) -> Contrast:
    tokenizer = build_tokenizer()
    shutil.copytree(folder / "model", copy)
    tokenizer.save_pretrained(copy)
    bridge = TransformerBridge.boot_transformers(str(copy), device="cpu", dtype=torch.float64)
    model = splice(bridge, read_cross_layer(folder / "transcoder"))
    words = tokenizer.batch_decode(graph["tokens"][1:, None])
    answer, wrong = tokenizer.batch_decode(graph["answers"][:, None])
    clean, corrupted = " ".join(words), " ".join(words[::-1])
    pair = PromptPair(clean, corrupted, answer=(answer,), wrong=(wrong,), id="0")
    prompts = tokenize([pair], tokenizer, n_ctx=19)
    assert prompts.clean_tokens[0].tolist() == graph["tokens"].tolist()
    return make_contrast(model, prompts, linearization="frozen", baseline=Nothing())


@dataclass(frozen=True)
class Known:
    """A graph of circuit-tracer's, and what it is of.

    Attributes:
        features: its active features.
        acts: their activations.
        column: every node's number, features first, BOS left out.
        expected: `[target, source]`: direct effects on the features, and on the difference of the
            logits last.
    """

    contrast: Contrast
    features: list[Spot]
    acts: list[torch.Tensor]
    column: dict[Spot, int]
    expected: torch.Tensor


def _known(name: str, folder: Path) -> Known:
    graph = load_file(MADE / name / "graph.safetensors")
    contrast = _contrast(MADE / name, graph, folder)
    features = [
        Spot(layer, pos - 1, feature) for layer, pos, feature in graph["active_features"].tolist()
    ]
    active = {
        Spot(place, pos - 1, feature)
        for place, site in enumerate(contrast.clean.sites)
        for _, pos, feature in site.features.nonzero().tolist()
        if pos > 0
    }
    assert set(features) == active
    acts = [contrast.clean.sites[s.place].features[0, s.unit + 1, s.feature] for s in features]
    torch.testing.assert_close(
        torch.stack(acts).float(), graph["activation_values"], rtol=1e-5, atol=1e-5
    )
    n_layers, n_pos = len(contrast.model.splices), len(graph["tokens"])
    # Its nodes in their order: features, errors layer by layer, tokens; -1 is BOS, no node here.
    wholes = [Spot(place, pos - 1, ERROR) for place in range(n_layers) for pos in range(n_pos)]
    wholes += [Spot(TOKENS, pos - 1, ERROR) for pos in range(n_pos)]
    column = {spot: number for number, spot in enumerate([*features, *wholes]) if spot.unit >= 0}
    expected = torch.zeros(len(features) + 1, len(column))
    known = list(column.values())
    expected[:-1] = graph["adjacency"][: len(features), known]
    answer, wrong = graph["adjacency"][-2:]
    expected[-1] = (answer - wrong)[known]
    return Known(contrast, features, acts, {spot: n for n, spot in enumerate(column)}, expected)


@pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale")
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_every_edge_is_circuit_tracer_s(name: str, tmp_path: Path) -> None:
    known = _known(name, tmp_path / "model")
    contrast, features, acts, at = known.contrast, known.features, known.acts, known.column
    expected = known.expected
    found = torch.zeros_like(expected).double()
    engine = ReferenceEdges(contrast, clean_gradients(contrast), list(at))
    row = {spot: number for number, spot in enumerate(features)}
    for place in (*range(len(contrast.model.splices)), None):
        targets = None if place is None else tuple(s for s in features if s.place == place)
        for block in engine.into(targets):
            rows = [-1] if targets is None else [row[spot] for spot in targets]
            for source, values in zip(block.sources, block.weights[..., 0].T, strict=True):
                is_feature = source.feature != ERROR
                value = float(acts[row[source]]) if is_feature else 1.0
                found[rows, at[source]] = values * value
    assert (expected.abs() > 1e-2).sum() > 300
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale")
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_so_are_both_scores(name: str, tmp_path: Path) -> None:
    # Of its effects on the features and on the difference of the logits, BOS left out; that its
    # own program computes them so, `tests/theory/test_graph_scores.py` knows.
    known = _known(name, tmp_path / "model")
    A = np.zeros((len(known.column) + 1, len(known.column) + 1))
    targets = [*range(len(known.features)), len(known.column)]
    A[targets, :-1] = known.expected.numpy()
    spots = list(known.column)
    is_token = np.array([*(spot.place == TOKENS for spot in spots), False])
    is_error = np.array([*(spot.feature == ERROR for spot in spots), False]) & ~is_token
    readout = np.eye(len(A))[-1]
    expected = unsigned_scores(
        sparse.csr_matrix(A), is_token=is_token, is_error=is_error, readout=readout
    )
    sources = sorted(spots)
    number = {spot: place for place, spot in enumerate(sources)}
    engine = ReferenceEdges(known.contrast, clean_gradients(known.contrast), sources)
    flow = InfluenceFlow(sources)
    for place in (None, *range(len(known.contrast.model.splices))):
        some = None if place is None else tuple(s for s in known.features if s.place == place)
        for block in engine.into(some):
            ends = (block.sources, block.targets or ())
            flow.add(0, block, *(np.array([number[spot] for spot in end]) for end in ends))
        flow.close()
    found = flow.scores()[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert 0.1 < found[0] < 0.9 and 0.5 < found[1] < 0.95
