"""Paths by intervention, against the same patching written out on the bare bridge."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import saecircuits as sc
from saecircuits.errors import InputError, UnknownNameError
from saecircuits.splicing.component_runs import ComponentRuns
from saecircuits.theory import reads
from tests.architectures import Float64Throughout, family_toy
from tests.models import Toy

PROMPT, OTHER = "w4 w9 w2 w11 w7", "w4 w13 w2 w20 w8"


class ByHand:
    """GPT-2 runs with single reads moved, by the bridge's own hooks."""

    def __init__(self, toy: Toy, tokens: Tensor, metric: Any) -> None:
        self.bridge, self.tokens, self.metric = toy.model.bridge, tokens[None], metric
        _, self.clean = self.bridge.run_with_cache(self.tokens)

    def _with(self, hook: str, value: Tensor, wanted: str) -> Tensor:
        seen: list[Tensor] = []
        self.bridge.run_with_hooks(
            self.tokens,
            fwd_hooks=[(hook, lambda t, hook: value), (wanted, lambda t, hook: seen.append(t))],
        )
        return seen[0]

    def change(self, name: str, moved: Tensor) -> Tensor:
        """What a component writes more if what it alone reads is moved."""
        layer, part = int(name[1]), name[3:]
        if part == "MLP":
            reads, out = f"blocks.{layer}.ln2.hook_in", f"blocks.{layer}.hook_mlp_out"
            return self._with(reads, self.clean[reads] + moved, out) - self.clean[out]
        reads, out = f"blocks.{layer}.ln1.hook_in", f"blocks.{layer}.attn.hook_z"
        if part == "attention":
            out = f"blocks.{layer}.hook_attn_out"
        more = self._with(reads, self.clean[reads] + moved, out) - self.clean[out]
        if part == "attention":
            return more
        return more[:, :, int(part[1:])] @ self.bridge.blocks[layer].attn.W_O[int(part[1:])]

    def effect(self, moved: Tensor) -> float:
        """What of the metric goes with a change of the stream that the final norm reads."""
        reads, out = "ln_final.hook_in", "unembed.hook_out"
        logits = self._with(reads, self.clean[reads] + moved, out)
        return float(self.metric.of(self.clean[out][0, -1] - logits[0, -1]))


@pytest.mark.parametrize("by", ["layer", "head"])
@torch.no_grad()
def test_every_edge_equals_patching_it_by_hand(toy: Toy, by: str) -> None:
    tree = sc.treeify(toy.model, PROMPT, corrupted=OTHER, by=by, answer="w3", wrong="w5")
    hand = ByHand(toy, tree.run.tokens, tree.metric)
    other = torch.tensor([[0, 4, 13, 2, 20, 8]])
    _, there = toy.model.bridge.run_with_cache(other)
    start = there["blocks.0.hook_in"] - hand.clean["blocks.0.hook_in"]
    moved = {"embedding": start}
    for name in list(tree.moved)[1:]:
        layer, part = name[1], name[3:]
        if part in ("MLP", "attention"):
            hook = f"blocks.{layer}.hook_{'mlp' if part == 'MLP' else 'attn'}_out"
            moved[name] = there[hook] - hand.clean[hook]
        else:
            hook, head = f"blocks.{layer}.attn.hook_z", int(part[1:])
            less = (there[hook] - hand.clean[hook])[:, :, head]
            moved[name] = less @ toy.model.bridge.blocks[int(layer)].attn.W_O[head]
    steps = {name: tree.firsts[name] for name in moved}
    checked = 0
    for source, target in combinations(moved, 2):
        assert tree.effect(source) == pytest.approx(hand.effect(moved[source]), abs=1e-9)
        if steps[source] < steps[target]:
            expected = hand.effect(hand.change(target, moved[source]))
            assert tree.effect(source, target) == pytest.approx(expected, abs=1e-9)
            assert abs(expected) > 1e-6
            checked += 1
    assert checked == {"layer": 21, "head": 42}[by]
    long = ("embedding", "L0.MLP", "L1.attention" if by == "layer" else "L1.H1", "L2.MLP")
    change = start
    for name in long[1:]:
        change = hand.change(name, change)
    assert tree.effect(*long) == pytest.approx(hand.effect(change), abs=1e-9)


# Where each reads: RMSNorm, rotary positions, grouped queries and a gated MLP; blocks whose
# attention and MLP are parallel, with two norms; one norm over each query and key; ALiBi.
@pytest.mark.parametrize("family", ["llama", "neox", "qwen3", "bloom"])
@torch.no_grad()
def test_so_it_does_in_other_architectures(family: str, tmp_path: Path) -> None:
    with Float64Throughout():
        toy = family_toy(family, tmp_path)
        tree = sc.treeify(toy.model, PROMPT, corrupted=OTHER, answer="w3", wrong="w5")
        hand = ByHand(toy, tree.run.tokens, tree.metric)
        _, there = toy.model.bridge.run_with_cache(torch.tensor([[0, 4, 13, 2, 20, 8]]))
        hooks = {"embedding": "blocks.0.hook_in"} | {
            name: f"blocks.{name[1]}.hook_{'mlp' if name.endswith('MLP') else 'attn'}_out"
            for name in list(tree.moved)[1:]
        }
        moved = {name: there[hook] - hand.clean[hook] for name, hook in hooks.items()}
        checked = 0
        for source, target in combinations(moved, 2):
            if tree.firsts[source] < tree.firsts[target]:
                expected = hand.effect(hand.change(target, moved[source]))
                assert tree.effect(source, target) == pytest.approx(expected, rel=1e-9, abs=1e-9)
                assert abs(expected) > 1e-6
                checked += 1
        n_layers = toy.model.n_layers
        parallel = n_layers if family == "neox" else 0
        assert checked == n_layers * (2 * n_layers + 1) - parallel


@torch.no_grad()
def test_so_it_does_in_the_shipped_model() -> None:
    model = sc.load_model("stories")
    prompts = sc.load_task("pronoun", model, limit=2).train
    clean, other = (
        tokens[0, : int(prompts.clean_lengths[0])]
        for tokens in (prompts.clean_tokens, prompts.corrupted_tokens)
    )
    tree = sc.treeify(model, clean, corrupted=other)
    hand = ByHand(Toy(model, prompts), tree.run.tokens, tree.metric)
    _, there = model.bridge.run_with_cache(other[None])
    moved = there["blocks.0.hook_in"] - hand.clean["blocks.0.hook_in"]
    size = max(abs(tree.effect("embedding", name)) for name in list(tree.moved)[1:])
    for name in list(tree.moved)[1:]:
        expected = hand.effect(hand.change(name, moved))
        assert tree.effect("embedding", name) == pytest.approx(expected, abs=1e-4 * size)


@pytest.mark.parametrize(("family", "by"), [("toy_mixed", "layer"), ("gemma2", "head")])
@torch.no_grad()
def test_totals_and_what_is_left_over(request: pytest.FixtureRequest, family: str, by: str) -> None:
    each_family: Toy = request.getfixturevalue(family)
    model = each_family.model
    tree = sc.treeify(model, PROMPT, corrupted=OTHER, by=by, answer="w3", wrong="w5")
    remainder = sc.expand(
        model, PROMPT, corrupted=OTHER, answer="w3", wrong="w5", naive_degree=0
    ).remainder
    slack = 1e3 * each_family.rounding
    assert tree.total() == pytest.approx(remainder.metric_change, abs=slack)
    found = tree.paths(limit=10**5)
    assert found.is_complete
    assert len(found.table) == 2 ** len(tree.run.steps) if by == "layer" else True
    assert found.interaction == pytest.approx(found.total - found.table["effect"].sum())
    assert abs(found.interaction) > 1e-4
    # The last component has the one path that it has, and nothing to interact with.
    last = list(tree.moved)[-1]
    alone = tree.paths(last)
    assert alone.table["path"].tolist() == [last]
    assert alone.interaction == pytest.approx(0, abs=slack)


def test_limits_and_names(toy: Toy) -> None:
    tree = sc.treeify(toy.model, PROMPT)
    part = tree.paths(limit=6)
    assert not part.is_complete
    assert part.stopped.startswith("stopped at degree 1: degree 2 takes 15 more")
    assert set(part.table["degree"]) == {0, 1}
    assert tree.baseline == "token embeddings at zero, all but the first"
    with pytest.raises(UnknownNameError, match=r"unknown component 'L9.MLP'"):
        tree.effect("embedding", "L9.MLP")
    with pytest.raises(InputError, match=r"L0.MLP does not come behind"):
        tree.effect("L1.MLP", "L0.MLP")
    with pytest.raises(InputError, match="needs at least its source"):
        tree.effect()


def test_a_head_may_be_the_first_thing_asked_of_a_model(toy: Toy) -> None:
    # A model finds out once, on tokens of its own, whether its blocks can be left out.
    run = sc.treeify(toy.model, PROMPT).run
    results = run.recording[run.recording.block(1).attention.heads][0]
    streams = reads(run.source, run.outputs)[[2]]
    found = [
        ComponentRuns(model, run.tokens).head(1, 0, streams, results)
        for model in (replace(toy.model), toy.model)
    ]
    torch.testing.assert_close(*found, rtol=0, atol=0)
