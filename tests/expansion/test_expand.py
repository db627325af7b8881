"""`expand`: what it returns, its tables, and what it refuses."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

import saecircuits as sc
from saecircuits.errors import InputError, TaskError, UnknownNameError
from saecircuits.expansion.affine import affine_run
from saecircuits.splicing.anatomy import Norm
from saecircuits.theory import degree_spectrum
from tests.models import Toy

PROMPT, OTHER = "w4 w9 w2 w11 w7", "w4 w13 w2 w20 w7"


@pytest.mark.parametrize("by", ["layer", "head"])
def test_tables_add_up(toy_mixed: Toy, by: str) -> None:
    expansion = sc.expand(toy_mixed.model, PROMPT, by=by, answer="w3", wrong="w5")
    table, parts = expansion.table(4).set_index("degree"), expansion.components
    for column in table.columns[4:]:
        values = table[column]
        assert values["total"] == pytest.approx(values.drop("total").sum(), abs=1e-9)
    metric = expansion.metric_by_degree()
    assert parts["direct"].sum() == pytest.approx(float(metric.value), abs=1e-9)
    assert parts["share"].sum() == pytest.approx(1)
    last = parts[parts["component"] == "L2.MLP"].iloc[0]
    assert last["direct"] == pytest.approx(last["through"], abs=1e-12)
    # Of each degree from 0: three attention layers of two heads and a bias each, three MLPs.
    sizes = (1, 12, 57, 136, 171, 108, 27) if by == "head" else (1, 6, 15, 20, 15, 6, 1)
    assert expansion.paths == sizes
    assert expansion.tokens[1:] == tuple(PROMPT.split())
    assert expansion.error[0] == 1
    assert expansion.error[-1] < 1e-12
    assert expansion.naive.label.endswith("not a decomposition")
    assert len(expansion.naive_error) == 7
    assert expansion.naive_error[-1] > 0.1


def test_a_head_and_the_mlp_behind_it_are_degree_two(toy: Toy) -> None:
    by_layer, by_head = (
        sc.expand(toy.model, PROMPT, by=by, naive_degree=0) for by in ("layer", "head")
    )
    torch.testing.assert_close(by_layer.terms, by_head.terms)
    names = by_head.components["component"].tolist()
    assert names[:6] == ["embedding", "L0.H0", "L0.H1", "L0.bias", "L0.MLP", "L1.H0"]


def test_direct_is_what_the_readout_loses_without_the_component(toy: Toy) -> None:
    # By hand for `through`: under the secant operator, the layer's output at zero, all recomputed.
    from saecircuits.splicing import record_operator
    from saecircuits.splicing.hooking import attached

    expansion = sc.expand(toy.model, PROMPT, answer="w3", wrong="w5", naive_degree=0)
    model, tokens = toy.model, expansion.run.tokens[None]
    held = record_operator(model.bridge, tokens, kind="secant")
    parts = expansion.components.set_index("component")
    for name, hook in (("L0.attention", "hook_attn_out"), ("L1.MLP", "hook_mlp_out")):
        zero = (f"blocks.{name[1]}.{hook}", lambda tensor, hook: torch.zeros_like(tensor))
        with torch.no_grad(), attached(model.bridge, model.hook_points, [zero]):
            logits = model.forward(tokens, operator=held)[0, -1]
        left = float(expansion.metric_by_degree().value) - float(expansion.metric.of(logits))
        assert parts.loc[name, "through"] == pytest.approx(left, abs=1e-9)


def test_biases_are_those_of_the_weights(toy: Toy) -> None:
    # GPT-2's MLP under the secant: b = W_out (gate * (W_in b_ln + b_in)) + b_out, at every token.
    tokens = torch.tensor([0, 4, 9, 2])
    run = affine_run(toy.model, tokens)
    for layer, block in enumerate(toy.model.bridge.blocks):
        mlp = run.anatomy.blocks[layer].mlp
        ((gate, W_in),) = mlp.branches
        inner = block.ln2.bias @ W_in + block.mlp.b_in
        expected = (gate[0] * inner) @ mlp.W_out + block.mlp.b_out
        (component,) = run.steps[run.mlp_steps[layer]].components
        torch.testing.assert_close(component.bias, expected.detach())


def test_maps_are_the_transposes_of_the_vector_jacobian_products(toy: Toy) -> None:
    tokens = torch.tensor([0, 4, 9, 2])
    block = affine_run(toy.model, tokens, operator="frozen").anatomy.blocks[1]
    assert isinstance(block.mlp.norm, Norm)
    change, cotangent = torch.randn(2, 1, 4, 14).double()
    prompt, pos = torch.zeros(4, dtype=torch.long), torch.arange(4)
    pulled = block.mlp.pull_back(cotangent[0], prompt, pos)
    forward = (block.mlp.push(change)[0] * cotangent[0]).sum(-1)
    torch.testing.assert_close(forward, (pulled * change[0]).sum(-1))
    results = torch.randn(1, 4, 2, 7).double()
    into = block.attention.into_heads(cotangent[0], prompt, pos)
    forward = (block.attention.push_from_heads(results)[0] * cotangent[0]).sum()
    torch.testing.assert_close(forward, (into * results[0]).sum())
    heads = [block.attention.push_head(change, head) for head in range(2)]
    torch.testing.assert_close(torch.stack(heads).sum(0), block.attention.push(change))


def test_features_before_the_norm_are_read_by_degree(toy_crossing: Toy) -> None:
    # No norm and no bias but the encoder's own lies between the stream and the feature.
    expansion = sc.expand(toy_crossing.model, PROMPT, naive_degree=0)
    for index, hook in enumerate(toy_crossing.model.hooks):
        readout = expansion.feature(hook, 3, at=2)
        dictionary = toy_crossing.model.splices[index].dictionary
        torch.testing.assert_close(readout.constant, dictionary.b_enc[3], rtol=0, atol=1e-11)
        assert len(readout.terms) == 2 * index + 2  # components before this MLP, and the tokens


def test_features_are_read_by_degree(toy_mixed: Toy) -> None:
    expansion = sc.expand(toy_mixed.model, PROMPT, naive_degree=0)
    degrees = {hook: len(expansion.feature(hook, 2).terms) for hook in toy_mixed.model.hooks}
    assert degrees == {
        "blocks.0.hook_resid_pre": 1,
        "blocks.0.hook_attn_out": 2,
        "blocks.1.attn.hook_z": 4,
        "blocks.1.hook_mlp_out": 4,  # a transcoder, which reads behind the attention layer
        "blocks.1.hook_resid_post": 5,
        "blocks.2.hook_mlp_out": 7,
    }


def test_features_of_embeddings_and_of_streams_within_a_block(toy_places: Toy) -> None:
    # What they read is the sum of its degrees, and what is left over their biases.
    model = toy_places.model
    expansion = sc.expand(model, PROMPT, naive_degree=0)
    degrees = {"embed.hook_out": 1, "blocks.0.hook_resid_mid": 2, "blocks.1.hook_mlp_out": 4}
    for hook, count in degrees.items():
        readout = expansion.feature(hook, 2)
        dictionary = model.splices[model.index(hook)].dictionary
        one = dictionary.indices([2])
        bias = dictionary.biases(one) - dictionary.encoder_rows(one) @ dictionary.shift
        assert len(readout.terms) == count
        torch.testing.assert_close(readout.constant, bias[0], rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"operator": "full"}, UnknownNameError, "unknown operator 'full'"),
        ({"by": "neuron"}, UnknownNameError, "unknown unit of attention 'neuron'"),
        ({"corrupted": "w4 w9"}, InputError, "has 3 tokens and the prompt 6"),
        ({"answer": "w3 w4"}, TaskError, "is 2 tokens"),
        ({"at": 6}, InputError, "no position 6 in 6 tokens"),
    ],
)
def test_what_cannot_be_asked(
    toy: Toy, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        sc.expand(toy.model, PROMPT, **options)


def test_prompts_and_features_that_are_not_there(toy: Toy) -> None:
    for tokens in ([0, 23], [], [0, -1], list(range(20))):
        with pytest.raises(InputError, match="are no prompt"):
            sc.expand(toy.model, tokens)
    expansion = sc.expand(toy.model, [0, 3, 5], naive_degree=0)
    with pytest.raises(InputError, match="no feature 31"):
        expansion.feature("blocks.0.hook_resid_post", 31)
    with pytest.raises(UnknownNameError, match="spliced site"):
        expansion.feature("blocks.0.hook_mlp_out", 0)


def test_the_metric_is_by_default_the_likeliest_token_against_the_next(toy: Toy) -> None:
    expansion = sc.expand(toy.model, PROMPT, naive_degree=0)
    value = expansion.logits().value
    assert value.topk(2).indices.tolist() == [expansion.metric.answer, expansion.metric.wrong]


def test_a_limit_stops_the_naive_sum(toy: Toy) -> None:
    naive = sc.expand(toy.model, PROMPT, naive_limit=10).naive
    assert not naive.is_complete
    assert naive.stopped.startswith("stopped at degree 1, after 6 applications")


def test_no_hooks_are_left(toy: Toy) -> None:
    sc.expand(toy.model, PROMPT, corrupted=OTHER)
    sc.treeify(toy.model, PROMPT, by="head").paths(limit=3)
    assert all(not point.fwd_hooks for point in toy.model.hook_points.values())


@torch.no_grad()
def test_the_pass_takes_under_twice_a_forward_pass_per_degree() -> None:
    # It takes a tenth (`experiments/expansion/timing.py`), so a busy machine does not matter.
    model = sc.load_model("stories")
    tokens = torch.arange(60)
    run = affine_run(model, tokens)

    def seconds(work: Callable[[], object]) -> float:
        times = []
        for _ in range(4):
            begin = time.process_time()
            work()
            times.append(time.process_time() - begin)
        return min(times)

    forward = seconds(lambda: model.forward(tokens[None]))
    whole = seconds(lambda: degree_spectrum(run.source, run.steps))
    assert whole / (len(run.steps) + 1) < 2 * forward
