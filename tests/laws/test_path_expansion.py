"""The path expansion: exact for the frozen operator, by degree and by path, in every family."""

from pathlib import Path

import pytest
import torch

from saecircuits.expansion.affine import AffineRun, affine_run
from saecircuits.splicing import SplicedModel, splice
from saecircuits.splicing.components import ComponentRuns
from saecircuits.theory import all_paths, degree_spectrum
from tests.architectures import BUILDERS, Float64Throughout, build
from tests.models import random_sae

TOKENS = torch.tensor([0, 4, 9, 2, 11, 7, 3])
CLOSE = {"rtol": 0, "atol": 1e-10}


@pytest.fixture(scope="module", params=BUILDERS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SplicedModel:
    """A random model of every family, in float64."""
    bridge = build(request.param, tmp_path_factory.mktemp(request.param))
    d_model, last = bridge.cfg.d_model, bridge.cfg.n_layers - 1
    d_heads = bridge.blocks[0].attn.W_O.shape[-3:-1].numel()
    # OPT's and OLMo 2's MLPs show no input that a transcoder could read.
    dictionaries = {
        "blocks.0.hook_resid_pre": random_sae("jumprelu", d_in=d_model, seed=1),
        "blocks.0.attn.hook_z": random_sae("standard", d_in=d_heads, seed=2),
        "blocks.1.hook_attn_out": random_sae("gated", d_in=d_model, seed=3),
        "blocks.0.hook_mlp_out": random_sae("topk", d_in=d_model, seed=4, k=7),
        f"blocks.{last}.hook_mlp_out": random_sae(
            "transcoder", d_in=d_model, seed=5, metadata={"hook_name": reads}
        ),
        f"blocks.{last}.hook_resid_post": random_sae("jumprelu", d_in=d_model, seed=6),
    }
    return splice(bridge, dictionaries)


def test_components_by_themselves_write_what_they_wrote(model: SplicedModel) -> None:
    with Float64Throughout():
        run = affine_run(model, TOKENS)
        parts = ComponentRuns(model, TOKENS)
        for layer in range(model.n_layers):
            hooks = run.recording.block(layer)
            before = run.recording[hooks.before]
            torch.testing.assert_close(
                parts.attention(layer, before), run.recording[hooks.attention_out], **CLOSE
            )
            middle = before
            if not run.anatomy.blocks[layer].is_parallel:
                middle = before + run.recording[hooks.attention_out]
            torch.testing.assert_close(
                parts.mlp(layer, middle), run.recording[hooks.mlp_out], **CLOSE
            )


@pytest.mark.parametrize("operator", ["secant", "frozen"])
def test_degrees_add_up(model: SplicedModel, operator: str) -> None:
    with Float64Throughout():
        run = affine_run(model, TOKENS, operator=operator)
        terms = degree_spectrum(run.source, run.steps)
        size = run.stream.abs().max()
        assert (terms.sum(0) - run.stream).abs().max() / size < 1e-11
