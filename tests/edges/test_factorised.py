"""The factorised engine against the reference, which goes by autograd and knows none of its parts.

Both are exact, so they agree to rounding: to 1e-9 in float64, and less where the model itself works
in float32 inside (Hugging Face's RMSNorm, and the softmax of rotary models).
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from saecircuits.edges.factorised.checks import NotCoveredError
from saecircuits.edges.factorised.engine import (
    EdgeParts,
    covers,
    factorised_edge_blocks,
    factorised_edge_parts,
)
from saecircuits.edges.factorised.model import take_apart
from saecircuits.edges.reference import EdgeBlock, edge_blocks
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.interventions import Spot
from saecircuits.splicing import SplicedModel, splice
from saecircuits.splicing.operators import FULL
from tests.edges.test_reference import strongest
from tests.models import (
    D_SAE,
    WORDS,
    Toy,
    _boot,
    build_bridge,
    build_gemma2,
    build_llama,
    make_contrast,
    random_sae,
    toy_prompts,
    uneven_prompts,
)

FAMILIES = {
    # name: width, width of all heads, layers, relative difference of two ways to one number
    "gpt2": (14, 14, 3, 1e-9),
    "neox": (24, 24, 3, 1e-9),
    "llama": (20, 24, 2, 2e-6),
    "gemma2": (28, 24, 2, 2e-6),
}
LINEARIZATIONS = ("full", "frozen", "secant")
POLICIES = ("recompute", "hold")
SITES = ("stream", "every", "transcoders", "components", "few", "middle", "heads")


def build_neox(folder: Path) -> Any:
    """A random GPT-NeoX: attention and MLP read the same stream; rotary on half of each head."""
    torch.manual_seed(8)
    config = GPTNeoXConfig(
        vocab_size=WORDS,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=29,
        rotary_pct=0.5,
        max_position_embeddings=19,
        initializer_range=0.35,
        bos_token_id=0,
        eos_token_id=0,
    )
    return _boot(GPTNeoXForCausalLM(config), folder)


@pytest.fixture(scope="module")
def bridges(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One random model of every family."""
    builders = {
        "gpt2": build_bridge,
        "neox": build_neox,
        "llama": build_llama,
        "gemma2": build_gemma2,
    }
    return {name: build(tmp_path_factory.mktemp(name)) for name, build in builders.items()}


def _dictionaries(sites: str, n_layers: int, d_in: int, d_heads: int) -> dict[str, Any]:
    """Dictionaries of every kind at a choice of sites."""
    found: dict[str, Any] = {}

    def put(layer: int, hook: str, kind: str, **options: Any) -> None:
        name = f"blocks.{layer}.{hook}"
        found[name] = random_sae(kind, **{"d_in": d_in, "seed": len(found), **options})

    def transcoder(layer: int, kind: str, read: str) -> None:
        names = {
            "hook_name": f"blocks.{layer}.{read}",
            "hook_name_out": f"blocks.{layer}.hook_mlp_out",
        }
        put(layer, "hook_mlp_out", kind, metadata=names)

    for layer in range(n_layers):
        is_odd = bool(layer % 2)
        if sites == "every":
            put(layer, "hook_resid_pre", "jumprelu")
        if sites in ("every", "components"):
            put(layer, "hook_attn_out", "standard")
            put(layer, "hook_mlp_out", "gated")
        if sites == "few" and layer != 1:
            put(layer, "hook_attn_out", "topk", k=7)
        if sites == "heads" or (sites == "every" and is_odd):
            put(layer, "attn.hook_z", "jumprelu", d_in=d_heads)
        if sites == "heads" and is_odd:
            put(layer, "hook_attn_out", "standard")
        if sites == "transcoders":
            kind, read = ("jumprelu_transcoder", "mlp.hook_in"), "ln2.hook_normalized"
            transcoder(layer, *(kind if is_odd else ("skip_transcoder", read)))
        if sites in ("stream", "every") or (sites == "middle" and layer == n_layers - 2):
            put(layer, "hook_resid_post", "gated" if is_odd else "jumprelu")
    return found


def _spliced(bridges: dict[str, Any], family: str, sites: str) -> SplicedModel:
    d_model, d_heads, n_layers, _ = FAMILIES[family]
    dictionaries = _dictionaries(sites, n_layers, d_model, d_heads)
    return splice(bridges[family], dictionaries, name=family)


def _nodes(contrast: Contrast) -> list[Spot]:
    """Strong nodes, and every seventh feature of the last unit whether it is active or not."""
    spots = strongest(contrast, per_unit=1)
    last = len(contrast.units) - 1
    others = [
        Spot(place, last, feature)
        for place in contrast.places[1:]
        for feature in range(0, D_SAE, 7)
    ]
    return [*spots, *(spot for spot in others if spot not in spots)]


Table = dict[tuple[Spot, Spot | None], Tensor]


def _table(blocks: Iterator[EdgeBlock] | Iterator[EdgeParts]) -> Table:
    """Effects and weights `[2, batch]` of every edge; parts added up, without weights."""
    found: Table = {}
    for block in blocks:
        if isinstance(block, EdgeParts):
            values = block.effects.sum(2)[None]
        else:
            values = torch.stack([block.effects, block.weights]).detach()
        for row, target in enumerate(block.targets or (None,)):
            for column, source in enumerate(block.sources):
                assert (source, target) not in found
                found[source, target] = values[:, row, column]
    return found


def _assert_same(found: Table, expected: Table, tolerance: float) -> None:
    assert found.keys() == expected.keys()
    left, right = (torch.stack([table[edge] for edge in expected]) for table in (found, expected))
    for kind in range(left.shape[1]):
        size = float(right[:, kind].abs().max())
        assert size > 0
        torch.testing.assert_close(left[:, kind], right[:, kind], rtol=0, atol=tolerance * size)


def _check(bridges: dict[str, Any], family: str, sites: str, positions: str, *how: str) -> None:
    model = _spliced(bridges, family, sites)
    make = toy_prompts if positions == "each" else uneven_prompts
    contrast = make_contrast(
        model,
        make(model.bridge),
        positions=positions,
        linearization=how[0],
        error_policy=how[1],
    )
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)
    expected = _table(edge_blocks(contrast, gradients, nodes))
    found = _table(factorised_edge_blocks(contrast, gradients, nodes))
    # With norms and patterns held, nothing in float32 is left.
    _assert_same(found, expected, FAMILIES[family][3] if how[0] == "full" else 1e-9)


@pytest.mark.parametrize(("sites", "how"), [*product(SITES, [*product(LINEARIZATIONS, POLICIES)])])
def test_edges_are_those_of_the_reference(
    bridges: dict[str, Any], sites: str, how: tuple[str, str]
) -> None:
    _check(bridges, "gpt2", sites, "span", *how)


@pytest.mark.parametrize(("positions", "how"), [*product(("each", "sum"), LINEARIZATIONS)])
def test_whatever_a_place_is_counted_in(bridges: dict[str, Any], positions: str, how: str) -> None:
    _check(bridges, "gpt2", "every", positions, how, "recompute")
    _check(bridges, "gpt2", "few", positions, how, "hold")


@pytest.mark.parametrize(
    ("family", "sites", "how"),
    [
        *product(
            ("neox", "llama", "gemma2"), ("every", "transcoders", "few", "heads"), LINEARIZATIONS
        )
    ],
)
def test_in_every_family(bridges: dict[str, Any], family: str, sites: str, how: str) -> None:
    assert covers(_spliced(bridges, family, sites)) is None
    _check(bridges, family, sites, "span", how, "recompute")


@pytest.mark.parametrize("policy", POLICIES)
def test_with_every_kind_of_site_at_once(each_family: Toy, policy: str) -> None:
    contrast = make_contrast(
        each_family.model, each_family.prompts, positions="span", error_policy=policy
    )
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)
    expected = _table(edge_blocks(contrast, gradients, nodes))
    found = _table(factorised_edge_blocks(contrast, gradients, nodes))
    _assert_same(found, expected, each_family.rounding)


@pytest.mark.parametrize(
    ("sites", "how"), [*product(("every", "transcoders", "heads"), LINEARIZATIONS)]
)
@pytest.mark.parametrize("family", ["gpt2", "neox"])
def test_parts_add_up_to_edges(bridges: dict[str, Any], family: str, sites: str, how: str) -> None:
    model = _spliced(bridges, family, sites)
    contrast = make_contrast(model, toy_prompts(model.bridge), positions="each", linearization=how)
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)
    edges = _table(factorised_edge_blocks(contrast, gradients, nodes))
    parts = _table(factorised_edge_parts(contrast, gradients, nodes))
    _assert_same(parts, {edge: values[:1] for edge, values in edges.items()}, 1e-12)


def test_parts_are_the_components_between_two_streams(bridges: dict[str, Any]) -> None:
    # Two neighbouring sites on the stream: identity, MLP, each head, each head and then the MLP.
    model = _spliced(bridges, "gpt2", "stream")
    contrast = make_contrast(model, toy_prompts(model.bridge), positions="each")
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)
    names = {
        block.targets[0].place: block.parts
        for block in factorised_edge_parts(contrast, gradients, nodes)
        if block.targets is not None
    }
    for layer in range(3):
        heads = [f"L{layer}.H{head}" for head in range(2)]
        expected = {"residual", f"L{layer}.MLP", *heads, *(f"{h}>L{layer}.MLP" for h in heads)}
        assert set(names[layer]) == expected


def test_a_part_is_what_goes_when_its_weights_are_taken_away(tmp_path: Path) -> None:
    # With patterns and scales held, a head is linear: without its output weights, held activations
    # staying where they are, edges lose its parts and nothing else.
    bridge = build_bridge(tmp_path)
    model = splice(bridge, _dictionaries("stream", 3, 14, 14), name="gpt2")
    contrast = make_contrast(model, toy_prompts(bridge), positions="each", linearization="secant")
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)
    whole = _table(edge_blocks(contrast, gradients, nodes))
    lost: Table = {}
    for block in factorised_edge_parts(contrast, gradients, nodes):
        columns = [i for i, part in enumerate(block.parts) if part.startswith("L1.H0")]
        for row, target in enumerate(block.targets or (None,)):
            for column, source in enumerate(block.sources):
                lost[source, target] = block.effects[row, column, columns].sum(0)
    with torch.no_grad():
        c_proj = bridge.original_model.transformer.h[1].attn.c_proj
        getattr(c_proj, "original_component", c_proj).weight[:7] = 0
    rest = _table(edge_blocks(contrast, gradients, nodes))
    assert max(float(values.abs().max()) for values in lost.values()) > 0.01
    for edge, values in whole.items():
        torch.testing.assert_close(values[0] - rest[edge][0], lost[edge], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("targets_at_once", [1, 5, 1000])
def test_chunks_are_bookkeeping(bridges: dict[str, Any], targets_at_once: int) -> None:
    model = _spliced(bridges, "gpt2", "few")
    contrast = make_contrast(model, toy_prompts(model.bridge), positions="span")
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)
    expected = _table(factorised_edge_blocks(contrast, gradients, nodes))
    found = _table(
        factorised_edge_blocks(contrast, gradients, nodes, targets_at_once=targets_at_once)
    )
    _assert_same(found, expected, 1e-12)


@pytest.mark.parametrize("how", LINEARIZATIONS)
def test_nothing_is_kept_for_a_backward_pass(bridges: dict[str, Any], how: str) -> None:
    model = _spliced(bridges, "gpt2", "few")
    contrast = make_contrast(model, toy_prompts(model.bridge), positions="span", linearization=how)
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)

    def refuse(tensor: Tensor) -> Tensor:
        raise AssertionError(f"autograd saved a tensor of shape {tuple(tensor.shape)}")

    saving = torch.autograd.graph.saved_tensors_hooks(refuse, refuse)
    with torch.enable_grad(), saving:
        for block in factorised_edge_blocks(contrast, gradients, nodes):
            assert not block.effects.requires_grad and not block.weights.requires_grad
        for parts in factorised_edge_parts(contrast, gradients, nodes):
            assert not parts.effects.requires_grad


def test_no_nodes_no_edges(bridges: dict[str, Any]) -> None:
    model = _spliced(bridges, "gpt2", "stream")
    assert covers(model) is None
    contrast = make_contrast(model, toy_prompts(model.bridge), positions="span")
    assert list(factorised_edge_blocks(contrast, clean_gradients(contrast), [])) == []


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("act_fn", "mish", "'mish' is not written down"),
        ("act_fn", "relu", "activation function.* is not reproduced"),
        ("attn_scores_soft_cap", 9.0, "scores.* not reproduced"),
        ("output_logits_soft_cap", 9.0, "soft-cap on logits is not reproduced"),
        ("parallel_attn_mlp", True, "ln2.* not reproduced"),
    ],
)
def test_a_model_that_computes_something_else_is_refused(
    bridges: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    value: object,
    reason: str,
) -> None:
    # The configuration says one thing and the recorded activations another.
    model = _spliced(bridges, "gpt2", "stream")
    monkeypatch.setattr(model.bridge.cfg, setting, value)
    found = covers(model)
    assert found is not None
    with pytest.raises(NotCoveredError, match=reason):
        take_apart(model, torch.arange(8)[None], FULL)
