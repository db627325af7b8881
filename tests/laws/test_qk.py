"""Attention scores rebuilt from pairs of terms are the model's own, in every architecture."""

from pathlib import Path

import pytest
import torch

import saecircuits as sc
from saecircuits.heads import HeadScores, attention
from saecircuits.splicing import SplicedModel, splice
from saecircuits.splicing.anatomy import take_apart
from saecircuits.splicing.hooking import recording
from saecircuits.splicing.operators import FULL
from tests.architectures import BUILDERS, Float64Throughout, build
from tests.models import random_sae

PROMPT = [0, 7, 3, 11, 7, 3, 19]
LAYER, HEAD = 1, 1


def _spliced(name: str, folder: Path) -> SplicedModel:
    bridge = build(name, folder)
    d_in = bridge.cfg.d_model
    return splice(
        bridge,
        {
            "blocks.0.hook_resid_pre": random_sae("jumprelu", d_in=d_in, seed=3),
            "blocks.0.hook_resid_post": random_sae("jumprelu", d_in=d_in, seed=4),
        },
    )


def _own_pattern(found: HeadScores) -> torch.Tensor:
    """Softmax of the rebuilt scores, and nothing else."""
    column = "capped" if "capped" in found.keys.columns else "score"
    return torch.tensor(found.keys[column].tolist(), dtype=torch.float64).softmax(0)


@pytest.mark.parametrize("name", BUILDERS)
def test_pairs_add_up_to_the_scores(tmp_path: Path, name: str) -> None:
    with Float64Throughout():
        model = _spliced(name, tmp_path)
        run = take_apart(model, torch.tensor([PROMPT]), FULL).blocks[LAYER].attention
        for query, by in ((2, "features"), (6, "features"), (6, "components")):
            found = attention(model, PROMPT, LAYER, HEAD, query=query, key=query - 1, by=by)
            here = found.keys.set_index("key").loc[query - 1]
            for column in ("score", "contrast"):
                whole = found.pairs[column].sum()
                assert whole == pytest.approx(here[column], rel=1e-9, abs=1e-9)
            # Independent: products of recorded queries and keys, and the recorded pattern.
            seen = found.keys["key"].to_numpy()
            products = run.scale * run.q[0, query, HEAD] @ run.k[0, :, HEAD].T
            if run.alibi is not None:
                products = products + run.alibi[HEAD] * torch.arange(len(PROMPT))
            torch.testing.assert_close(
                torch.tensor(found.keys["score"].tolist(), dtype=torch.float64),
                products[seen],
                rtol=1e-9,
                atol=1e-9,
            )
            torch.testing.assert_close(
                _own_pattern(found), run.pattern[0, HEAD, query, seen], rtol=1e-8, atol=1e-9
            )


@pytest.mark.parametrize("name", ["gpt2", "neox", "llama", "gemma2", "bloom"])
def test_scores_are_those_that_the_softmax_is_taken_of(tmp_path: Path, name: str) -> None:
    with Float64Throughout():
        model = _spliced(name, tmp_path)
        hook = f"blocks.{LAYER}.attn.hook_attn_scores"
        with recording(model.bridge, model.hook_points, [hook]) as tensors:
            model.forward(torch.tensor([PROMPT]))
        found = attention(model, PROMPT, LAYER, HEAD, query=6)
    column = "capped" if "capped" in found.keys.columns else "score"
    rebuilt = torch.tensor(found.keys[column].tolist(), dtype=torch.float64)
    theirs = tensors[hook][0, HEAD, 6, found.keys["key"].to_numpy()]
    # A constant of the row is nothing to the softmax: ALiBi may be counted from any position.
    gap = rebuilt - theirs
    torch.testing.assert_close(gap, gap[:1].expand_as(gap), rtol=0, atol=1e-8)


def test_the_first_layer_reads_tokens_and_positions(tmp_path: Path) -> None:
    model = _spliced("gpt2", tmp_path)
    found = attention(model, PROMPT, 0, 1, query=4, key=3, by="components")
    assert set(found.key_terms["key_term"]) == {"tokens", "positions", "bias"}
    assert attention(model, PROMPT, 0, 1).keys["pattern"].sum() == pytest.approx(1)


@pytest.mark.parametrize("by", ["features", "components"])
@pytest.mark.parametrize("name", ["stories", "induction"])
def test_pairs_add_up_in_the_shipped_models(name: str, by: str) -> None:
    model = sc.load_model(name)
    prompt = [0, *range(20, 32), *range(20, 30)]
    run = take_apart(model, torch.tensor([prompt]), FULL).blocks[1].attention
    for head in range(run.pattern.shape[1]):
        found = attention(model, prompt, 1, head, by=by)
        products = run.scale * run.q[0, -1, head] @ run.k[0, :, head].T
        size = float(products.abs().max())
        rebuilt = torch.tensor(found.keys["score"].tolist(), dtype=torch.float32)
        assert float((rebuilt - products).abs().max()) < 1e-4 * size
        gap = abs(found.pairs["score"].sum() - float(products[found.key]))
        assert gap < 1e-4 * size
