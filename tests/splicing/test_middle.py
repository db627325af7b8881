"""Dictionaries of the stream between attention layer and MLP: what they write reaches both."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saecircuits.errors import SiteError
from saecircuits.splicing import SplicedModel, splice
from saecircuits.splicing.hooking import recording
from tests.architectures import Float64Throughout, build
from tests.models import Toy, random_sae

MID = "blocks.1.hook_resid_mid"
SITES = (MID, "blocks.1.hook_mlp_out", "blocks.1.hook_resid_post")
SEQUENTIAL = ("gpt2", "llama", "gemma2", "bloom", "opt", "olmo2")


def _spliced(bridge: Any) -> SplicedModel:
    width = bridge.cfg.d_model
    return splice(bridge, {name: random_sae("jumprelu", d_in=width) for name in SITES})


def _tokens() -> Tensor:
    return torch.tensor([[0, 5, 7, 3], [0, 2, 9, 11]])


@pytest.mark.parametrize("family", SEQUENTIAL)
def test_a_change_there_is_a_change_of_the_stream(family: str, tmp_path: Path) -> None:
    with Float64Throughout():
        bridge = build(family, tmp_path)
        model, tokens = _spliced(bridge), _tokens()
        change = torch.randn(2, 4, bridge.cfg.d_model, dtype=torch.float64)
        read: dict[int, Tensor] = {}

        def at_site(index: int, there: Tensor, write: Tensor) -> Tensor:
            read[index] = write
            return write + change if index == 0 else write

        with torch.no_grad():
            found = model.forward(tokens, at_site=at_site)
            # By hand: the attention layer adds as much more.
            hooks = [("blocks.1.hook_attn_out", lambda tensor, hook: tensor + change)]
            with recording(bridge, bridge.hook_dict, [SITES[2]]) as seen:
                expected = bridge.run_with_hooks(tokens, fwd_hooks=hooks)
            plain = bridge(tokens)
            assert torch.equal(model.forward(tokens, at_site=lambda i, r, w: w), plain)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
    # The site behind the block sees it too.
    torch.testing.assert_close(read[2], seen[SITES[2]], rtol=0, atol=1e-11)
    assert (found - plain).abs().max() > 1e-2


def test_nothing_passes_a_site_there(toy: Toy) -> None:
    model, leaves = _spliced(toy.model.bridge), dict[str, Tensor]()

    def cut(name: str, tensor: Tensor) -> Tensor:
        leaves[name] = tensor.detach().requires_grad_()
        return leaves[name]

    logits = model.forward(
        _tokens(),
        at_site=lambda index, read, write: cut("middle", write) if index == 0 else None,
        at_tokens=lambda tokens: cut("tokens", tokens),
    )
    wanted = [leaves["middle"], leaves["tokens"]]
    own, before = torch.autograd.grad(logits.sum(), wanted, allow_unused=True)
    assert own is not None
    assert own.abs().max() > 0
    assert before is None


@pytest.mark.parametrize("family", ["neox", "phi", "gptj"])
def test_parallel_blocks_have_no_such_place(family: str, tmp_path: Path) -> None:
    bridge = build(family, tmp_path)
    sae = random_sae("standard", d_in=bridge.cfg.d_model)
    with pytest.raises(SiteError, match="its attention layer and its MLP read the same stream"):
        splice(bridge, {MID: sae})
