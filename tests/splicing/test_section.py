"""A run begun at a block, or ended before one, is the whole run's part."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saecircuits.splicing import SplicedModel, splice
from saecircuits.splicing.section import Section, blocks_can_be_left_out
from tests.architectures import BUILDERS, build
from tests.models import WORDS, Toy, random_sae
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 0, "atol": 1e-11}
LENGTHS = torch.tensor([6, 3, 5])


def _model(bridge: Any) -> SplicedModel:
    """A dictionary at what every attention layer and every block writes."""
    d_model = bridge.cfg.d_model
    hooks = [
        f"blocks.{layer}.hook_{kind}"
        for layer in range(bridge.cfg.n_layers)
        for kind in ("attn_out", "resid_post")
        if f"blocks.{layer}.hook_{kind}" in bridge.hook_dict
    ]
    return splice(bridge, {hook: random_sae("jumprelu", d_in=d_model) for hook in hooks})


def _tokens() -> Tensor:
    return torch.randint(1, WORDS, (3, 6), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", BUILDERS)
@torch.no_grad()
def test_every_architecture_can_begin_and_end_anywhere(name: str, tmp_path: Path) -> None:
    model, tokens = _model(build(name, tmp_path)), _tokens()
    whole = model.forward(tokens)
    streams, logits = model.streams(tokens)
    torch.testing.assert_close(logits, whole, **CLOSE)
    for first, stream in enumerate(streams):
        called: list[int] = []

        def note(index: int, read: Tensor, write: Tensor, called: list[int] = called) -> None:
            called.append(index)

        section = Section(first, stream)
        part = model.forward(tokens, at_site=note, section=section, lengths=LENGTHS)
        torch.testing.assert_close(part[:, 0], whole[range(3), LENGTHS - 1], **CLOSE)
        assert called == [
            index for index, each in enumerate(model.splices) if each.site.layer >= first
        ]
        for stop in range(first + 1, model.n_layers):
            end = model.forward(tokens, section=replace(section, stop=stop))
            torch.testing.assert_close(end, streams[stop], **CLOSE)
        torch.testing.assert_close(model.forward(tokens), whole, rtol=0, atol=0)
    assert len(streams) > model.n_layers


@pytest.mark.parametrize("name", ["gpt2", "neox", "llama", "gemma2", "qwen3", "gemma3"])
def test_blocks_are_really_left_out(name: str, tmp_path: Path) -> None:
    model, ran = _model(build(name, tmp_path)), []
    for layer, block in enumerate(model.bridge.blocks):
        block.mlp.register_forward_hook(lambda *_, layer=layer: ran.append(layer))
    streams, _ = model.streams(_tokens())
    model.forward(_tokens(), section=Section(1, streams[1]))
    ran.clear()
    model.forward(_tokens(), section=Section(1, streams[1]))
    assert ran == list(range(1, model.n_layers))


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
@torch.no_grad()
def test_what_a_site_writes_is_what_the_block_behind_it_reads(name: str, tmp_path: Path) -> None:
    model, tokens = _model(build(name, tmp_path)), _tokens()
    written: dict[int, Tensor] = {}
    model.forward(tokens, at_site=lambda index, read, write: written.update({index: write}))
    streams, _ = model.streams(tokens)
    behind = [model.block_behind(index) for index in range(len(model.splices))]
    assert behind == [index // 2 + 1 if index % 2 else None for index in range(2 * model.n_layers)]
    for index, block in enumerate(behind):
        if block is not None:
            torch.testing.assert_close(written[index], streams[block], rtol=0, atol=0)


@torch.no_grad()
def test_a_model_that_hands_on_more_runs_all_its_blocks(tmp_path: Path) -> None:
    # The last block adds what the first one wrote.
    bridge, kept = build("gpt2", tmp_path), []
    model, tokens = _model(bridge), _tokens()
    bridge.blocks[0].register_forward_hook(lambda block, args, out: kept.append(out))
    bridge.blocks[-1].register_forward_hook(lambda block, args, out: out + kept[-1])
    assert not blocks_can_be_left_out(bridge, bridge.hook_dict)
    whole = model.forward(tokens)
    streams, _ = model.streams(tokens)
    for first, stream in enumerate(streams):
        part = model.forward(tokens, section=Section(first, stream))
        torch.testing.assert_close(part, whole, **CLOSE)


def test_blocks_are_back_after_an_exception(toy: Toy) -> None:
    model, tokens = toy.model, toy.prompts.clean_tokens
    streams, whole = model.streams(tokens)

    def fail(index: int, read: Tensor, write: Tensor) -> None:
        raise KeyError(index)

    with pytest.raises(KeyError, match="2"):
        model.forward(tokens, at_site=fail, section=Section(2, streams[2]))
    torch.testing.assert_close(model.forward(tokens), whole, rtol=0, atol=0)
