"""The stream is the sum of what was written into it; runs in which a head reads something else."""

from pathlib import Path

import pytest
import torch

from saecircuits.splicing import splice
from saecircuits.splicing.anatomy import take_apart
from saecircuits.splicing.operators import FULL
from saecircuits.splicing.parts import dictionary_before, stream_parts
from saecircuits.splicing.reads import WAYS, reads, run_reading
from tests.architectures import BUILDERS, Float64Throughout, build
from tests.models import WORDS, build_bridge, random_sae

TOKENS = torch.arange(12).reshape(2, 6) % WORDS


@pytest.mark.parametrize("name", BUILDERS)
def test_parts_add_up_and_heads_can_be_given_their_own_reads(tmp_path: Path, name: str) -> None:
    with Float64Throughout():
        bridge = build(name, tmp_path)
        sae = random_sae("jumprelu", d_in=bridge.cfg.d_model)
        model = splice(bridge, {"blocks.0.hook_resid_post": sae})
        streams, logits = model.streams(TOKENS)
        parts = stream_parts(model, TOKENS, take_apart(model, TOKENS, FULL), 1)
        whole = torch.stack([part.stream for part in parts]).sum(0)
        torch.testing.assert_close(whole, streams[1], rtol=1e-9, atol=1e-9)
        assert {"tokens", "L0.H0", "L0.H1", "L0.MLP"} <= {part.component for part in parts}
        own = reads(model, TOKENS, 1, streams[1])
        unchanged, pattern = run_reading(model, TOKENS, 1, 1, own)
        torch.testing.assert_close(unchanged, logits)
        for way in WAYS:
            others = reads(model, TOKENS, 1, streams[1].flip(0))
            changed, moved = run_reading(model, TOKENS, 1, 1, {way: others[way]})
            assert not torch.allclose(changed, logits)
            assert torch.allclose(moved, pattern) == (way == "v")


def test_the_dictionary_before_a_layer_is_found(tmp_path: Path) -> None:
    hooks = ("blocks.0.hook_resid_pre", "blocks.0.hook_attn_out", "blocks.1.hook_resid_post")
    saes = {hook: random_sae("jumprelu", seed=seed) for seed, hook in enumerate(hooks)}
    model = splice(build_bridge(tmp_path), saes)
    assert [dictionary_before(model, layer) for layer in range(3)] == [0, None, 2]
