"""Models in bfloat16 and float16: what is computed beside the model is in float32.

The model's own stream stays rounded; what is read off it is compared with a computation by hand in
float64 from the same stream.
"""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import saecircuits as sc
from saecircuits.edges.settings import AttributionSettings
from saecircuits.splicing import SplicedModel, observe, splice
from saecircuits.splicing.hooking import recording
from saecircuits.splicing.loading import load_model
from tests.models import random_sae

LOW = [torch.bfloat16, torch.float16]
in_low_precision = pytest.mark.parametrize("dtype", LOW)


def _loaded(folder: Path, dtype: torch.dtype) -> SplicedModel:
    """SAEs of three kinds and a transcoder, so that every hook there is casts."""
    bridge = load_model(folder, dtype=dtype).bridge
    read = {"hook_name": "blocks.1.ln2.hook_normalized"}
    dictionaries = {
        "blocks.0.hook_resid_post": random_sae("jumprelu", seed=0),
        "blocks.1.attn.hook_z": random_sae("topk", seed=1, k=7),
        "blocks.1.hook_mlp_out": random_sae("skip_transcoder", seed=2, metadata=read),
        "blocks.2.hook_resid_post": random_sae("gated", seed=3),
    }
    return splice(bridge, dictionaries, name="low")


def _metric_by_hand(model: SplicedModel, task: sc.Task) -> Tensor:
    """The logit difference from what leaves the final norm, in float64."""
    prompts = task.train
    name = "ln_final.hook_out"
    with recording(model.bridge, model.hook_points, [name]) as seen:
        model.forward(prompts.clean_tokens)
    last = seen[name][torch.arange(len(prompts)), prompts.clean_lengths - 1].double()
    W_U = model.bridge.W_U.detach().double()
    direction = W_U[:, prompts.answer_tokens[:, 0]] - W_U[:, prompts.wrong_tokens[:, 0]]
    return (last * direction.T).sum(-1)


@in_low_precision
def test_the_metric_is_no_difference_of_rounded_logits(
    model_folder: Path, task_file: Path, dtype: torch.dtype
) -> None:
    model = _loaded(model_folder, dtype)
    task = sc.load_task(task_file, model)
    graph = sc.attribute(model, task.train, max_nodes=10)
    by_hand = _metric_by_hand(model, task)
    assert float((by_hand - by_hand.to(dtype)).abs().max()) > 1e-4, "rounding would not be seen"
    assert graph.summary["metric_clean"] == pytest.approx(float(by_hand.mean()), abs=1e-6)


@in_low_precision
def test_what_a_site_writes_is_the_sum_of_its_nodes(
    model_folder: Path, task_file: Path, dtype: torch.dtype
) -> None:
    model = _loaded(model_folder, dtype)
    tokens = sc.load_task(task_file, model).train.clean_tokens
    written: dict[int, Tensor] = {}
    model.forward(tokens, at_site=lambda index, read, write: written.update({index: write}))
    run = observe(model, tokens)
    assert all(tensor.dtype == torch.float32 for tensor in (run.tokens, run.logits))
    for index, expected in written.items():
        assert run.sites[index].error.dtype == run.sites[index].activations.value.dtype
        torch.testing.assert_close(run.written(model, index), expected, rtol=0, atol=1e-5)


@in_low_precision
def test_both_engines_give_the_edges_of_the_float64_model(
    model_folder: Path, task_file: Path, dtype: torch.dtype
) -> None:
    # The same rounded weights in float64: what is left is the rounding of the stream.
    low, exact = _loaded(model_folder, dtype), _loaded(model_folder, torch.float64)
    with torch.no_grad():
        for weight in exact.bridge.parameters():
            weight.copy_(weight.to(dtype))
    prompts = sc.load_task(task_file, low).train
    size = 0.06 if dtype == torch.bfloat16 else 0.01
    for engine in ("factorised", "reference"):
        choices = AttributionSettings(engine=engine, max_nodes=30, positions="each")
        found, expected = (sc.attribute(model, prompts, settings=choices) for model in (low, exact))
        for table, ids in (("nodes", ["node"]), ("edges", ["source", "target"])):
            one, two = (getattr(g, table).set_index(ids)["effect"] for g in (found, expected))
            shared = one.index.intersection(two.index)
            assert len(shared) > 0.8 * len(two)
            assert one.dtype == "float64"
            gap = float((one - two).loc[shared].abs().max())
            assert gap < size * float(two.abs().max())


@in_low_precision
def test_a_dictionary_encodes_in_its_own_precision_as_sae_lens_does(
    model_folder: Path, task_file: Path, dtype: torch.dtype
) -> None:
    bridge = load_model(model_folder, dtype=dtype).bridge
    hook = "blocks.1.hook_resid_post"
    for own in (dtype, torch.float32):
        sae = random_sae("topk", seed=3, d_sae=257, k=11).to(own)
        model = splice(bridge, {hook: sae})
        seen: list[Tensor] = []
        tokens = sc.load_task(task_file, model).train.clean_tokens
        model.forward(tokens, at_site=lambda index, read, write, seen=seen: seen.append(read))
        with torch.no_grad():
            expected = sae.encode(seen[0].flatten(0, 1)).unflatten(0, tokens.shape)
        assert torch.equal(observe(model, tokens).sites[0].features, expected.float())


def test_every_stage_in_float16(model_folder: Path, task_file: Path) -> None:
    model = _loaded(model_folder, torch.float16)
    task = sc.load_task(task_file, model)
    graph = sc.attribute(model, task.train, max_nodes=20)
    assert graph.edges["effect"].notna().all()
    assert len(sc.prune(graph, faithfulness=0.5, method="masks").nodes)
    circuit = sc.prune(graph, nodes=6)
    for ablate in ("nodes", "edges"):
        assert math.isfinite(sc.validate(model, circuit, task.test, ablate=ablate).faithfulness)
    interactions = sc.interactions(model, task.train, list(circuit.nodes["node"][1:4]))
    assert interactions.dividends["dividend"].notna().all()
    assert len(sc.composition(model))
    assert sc.attention(model, "w1 w2 w3", 1, 0).pairs["score"].notna().all()
