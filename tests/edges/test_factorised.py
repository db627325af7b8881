"""The factorised engine against the reference, which goes by autograd and knows none of its parts.

Both are exact, so they agree to rounding: to 1e-9 with models that compute everything in float64.
"""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saecircuits.edges.blocks import all_blocks, expandable
from saecircuits.edges.factorised import FactorisedEdges, covers
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.interventions import Spot
from saecircuits.nodes.units import Positions
from saecircuits.splicing import SplicedModel, splice
from tests.architectures import build
from tests.edges.engines import (
    Table,
    assert_same,
    factorised_blocks,
    reference_blocks,
    table_of,
)
from tests.edges.test_reference import strongest
from tests.models import (
    D_SAE,
    Toy,
    build_bridge,
    make_contrast,
    random_sae,
    toy_prompts,
    uneven_prompts,
)

LINEARIZATIONS = ("full", "frozen", "secant")
POLICIES = ("recompute", "hold")
SITES = ("stream", "every", "transcoders", "components", "few", "middle", "heads")
TOLERANCE = 1e-9


class Bridges:
    """One random model of every architecture, built when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            self._built[name] = build(name, self._folder / name)
        return self._built[name]


@pytest.fixture(scope="module")
def bridges(tmp_path_factory: pytest.TempPathFactory) -> Bridges:
    return Bridges(tmp_path_factory.mktemp("bridges"))


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
        if sites == "normed":
            transcoder(layer, "jumprelu_transcoder", "ln2.hook_normalized")
        if sites == "transcoders":
            kind, read = ("jumprelu_transcoder", "mlp.hook_in"), "ln2.hook_normalized"
            transcoder(layer, *(kind if is_odd else ("skip_transcoder", read)))
        if sites in ("stream", "every") or (sites == "middle" and layer == n_layers - 2):
            put(layer, "hook_resid_post", "gated" if is_odd else "jumprelu")
    return found


def _spliced(bridges: Bridges, family: str, sites: str) -> SplicedModel:
    bridge = bridges[family]
    cfg = bridge.cfg
    dictionaries = _dictionaries(sites, cfg.n_layers, cfg.d_model, cfg.n_heads * cfg.d_head)
    return splice(bridge, dictionaries, name=family)


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


def _check(bridges: Bridges, family: str, sites: str, positions: Positions, *how: str) -> None:
    model = _spliced(bridges, family, sites)
    make = toy_prompts if positions == "each" else uneven_prompts
    contrast = make_contrast(
        model,
        make(bridges["gpt2"]),  # all models have the same words
        positions=positions,
        linearization=how[0],
        error_policy=how[1],
    )
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)
    expected = table_of(reference_blocks(contrast, gradients, nodes))
    found = table_of(factorised_blocks(contrast, gradients, nodes))
    assert_same(found, expected, TOLERANCE)


@pytest.mark.parametrize(("sites", "how"), [*product(SITES, [*product(LINEARIZATIONS, POLICIES)])])
def test_edges_are_those_of_the_reference(
    bridges: Bridges, sites: str, how: tuple[str, str]
) -> None:
    _check(bridges, "gpt2", sites, "span", *how)


@pytest.mark.parametrize(("positions", "how"), [*product(("each", "sum"), LINEARIZATIONS)])
def test_whatever_a_place_is_counted_in(bridges: Bridges, positions: Positions, how: str) -> None:
    _check(bridges, "gpt2", "every", positions, how, "recompute")
    _check(bridges, "gpt2", "few", positions, how, "hold")


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    ("family", "sites", "how"),
    [
        *product(
            ("neox", "llama", "gemma2"), ("every", "transcoders", "few", "heads"), LINEARIZATIONS
        ),
        *product(
            (
                "qwen3",
                "gemma3",
                "qwen2",
                "mistral",
                "phi",
                "bloom",
                "olmo2",
                "opt",
                "gptj",
                "gpt_neo",
            ),
            ("every", "few"),
            LINEARIZATIONS,
        ),
        ("opt", "normed", "full"),
        *product(("granite", "glm"), ("every", "few"), ("full", "secant")),
        *product(("olmo", "nemotron", "apertus", "falcon"), ("every",), ("full", "secant")),
    ],
)
def test_in_every_family(bridges: Bridges, family: str, sites: str, how: str) -> None:
    assert covers(_spliced(bridges, family, sites)) is None
    _check(bridges, family, sites, "span", how, "recompute")


@pytest.mark.parametrize("fixture", ["toy_unusual", "toy_places"])
def test_with_unusual_dictionaries(request: pytest.FixtureRequest, fixture: str) -> None:
    # Rows of every token's own, features with signs; embeddings, and streams within a block.
    toy: Toy = request.getfixturevalue(fixture)
    cases: tuple[tuple[Positions, str], ...] = (("span", "full"), ("each", "frozen"))
    for positions, how in cases:
        contrast = make_contrast(toy.model, toy.prompts, positions=positions, linearization=how)
        gradients, nodes = clean_gradients(contrast), _nodes(contrast)
        expected = table_of(reference_blocks(contrast, gradients, nodes))
        found = table_of(factorised_blocks(contrast, gradients, nodes))
        assert_same(found, expected, TOLERANCE)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("policy", POLICIES)
def test_with_every_kind_of_site_at_once(each_family: Toy, policy: str) -> None:
    contrast = make_contrast(
        each_family.model, each_family.prompts, positions="span", error_policy=policy
    )
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)
    expected = table_of(reference_blocks(contrast, gradients, nodes))
    found = table_of(factorised_blocks(contrast, gradients, nodes))
    assert_same(found, expected, TOLERANCE)


@pytest.mark.parametrize(
    ("sites", "how"), [*product(("every", "transcoders", "heads"), LINEARIZATIONS)]
)
@pytest.mark.parametrize("family", ["gpt2", "neox"])
def test_parts_add_up_to_edges(bridges: Bridges, family: str, sites: str, how: str) -> None:
    model = _spliced(bridges, family, sites)
    contrast = make_contrast(model, toy_prompts(model.bridge), positions="each", linearization=how)
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)
    largest = 0.0
    for block in factorised_blocks(contrast, gradients, nodes):
        whole = block.effects.sum(-1)
        largest = max(largest, float(whole.abs().max()))
        torch.testing.assert_close(block.part_effects.sum(0), whole, rtol=0, atol=1e-12 * largest)
    assert largest > 0


@pytest.mark.parametrize(("positions", "how"), [*product(("span", "sum"), LINEARIZATIONS)])
def test_edges_are_the_same_told_apart_or_not(
    bridges: Bridges, positions: Positions, how: str
) -> None:
    model = _spliced(bridges, "gpt2", "every")
    contrast = make_contrast(
        model, uneven_prompts(model.bridge), positions=positions, linearization=how
    )
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)
    whole = FactorisedEdges(contrast, gradients, nodes, is_split=False)
    split = FactorisedEdges(contrast, gradients, nodes)
    expected = table_of(all_blocks(whole, expandable(contrast, nodes)))
    assert_same(table_of(all_blocks(split, expandable(contrast, nodes))), expected, 1e-12)


def test_parts_are_the_components_between_two_streams(bridges: Bridges) -> None:
    # Two neighbouring sites on the stream: identity, MLP, each head, each head and then the MLP.
    model = _spliced(bridges, "gpt2", "stream")
    contrast = make_contrast(model, toy_prompts(model.bridge), positions="each")
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)
    names = {
        block.targets[0].place: {part.name for part in block.parts}
        for block in factorised_blocks(contrast, gradients, nodes)
        if block.targets is not None
    }
    for layer in range(3):
        heads = [f"L{layer}.H{head}" for head in range(2)]
        expected = {"residual", f"L{layer}.MLP", *heads, *(f"{h}>L{layer}.MLP" for h in heads)}
        assert names[layer] == expected


def test_a_part_is_what_goes_when_its_weights_are_taken_away(tmp_path: Path) -> None:
    # With patterns and scales held, a head is linear: without its output weights, held activations
    # staying where they are, edges lose its parts and nothing else.
    bridge = build_bridge(tmp_path)
    model = splice(bridge, _dictionaries("stream", 3, 14, 14), name="gpt2")
    contrast = make_contrast(model, toy_prompts(bridge), positions="each", linearization="secant")
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)
    whole = table_of(reference_blocks(contrast, gradients, nodes))
    lost: Table = {}
    for block in factorised_blocks(contrast, gradients, nodes):
        here = [i for i, part in enumerate(block.parts) if part.name.startswith("L1.H0")]
        for row, target in enumerate(block.targets or (None,)):
            for column, source in enumerate(block.sources):
                lost[source, target] = block.part_effects[here, row, column].sum(0)
    with torch.no_grad():
        c_proj = bridge.original_model.transformer.h[1].attn.c_proj
        getattr(c_proj, "original_component", c_proj).weight[:7] = 0
    rest = table_of(reference_blocks(contrast, gradients, nodes))
    assert max(float(values.abs().max()) for values in lost.values()) > 0.01
    for edge, values in whole.items():
        gone = (values[0] - rest[edge][0]).sum()
        torch.testing.assert_close(gone, lost[edge], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("targets_at_once", [1, 5, 1000])
def test_chunks_are_bookkeeping(bridges: Bridges, targets_at_once: int) -> None:
    model = _spliced(bridges, "gpt2", "few")
    contrast = make_contrast(model, toy_prompts(model.bridge), positions="span")
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)
    expected = table_of(factorised_blocks(contrast, gradients, nodes))
    found = table_of(factorised_blocks(contrast, gradients, nodes, targets_at_once=targets_at_once))
    assert_same(found, expected, 1e-12)


@pytest.mark.parametrize("how", LINEARIZATIONS)
def test_nothing_is_kept_for_a_backward_pass(bridges: Bridges, how: str) -> None:
    model = _spliced(bridges, "gpt2", "few")
    contrast = make_contrast(model, toy_prompts(model.bridge), positions="span", linearization=how)
    gradients, nodes = clean_gradients(contrast), _nodes(contrast)

    def refuse(tensor: Tensor) -> Tensor:
        raise AssertionError(f"autograd saved a tensor of shape {tuple(tensor.shape)}")

    saving = torch.autograd.graph.saved_tensors_hooks(refuse, refuse)
    with torch.enable_grad(), saving:
        for block in factorised_blocks(contrast, gradients, nodes):
            for values in (block.effects, block.weights, block.part_effects):
                assert not values.requires_grad


def test_no_nodes_no_edges(bridges: Bridges) -> None:
    model = _spliced(bridges, "gpt2", "stream")
    assert covers(model) is None
    contrast = make_contrast(model, toy_prompts(model.bridge), positions="span")
    assert list(factorised_blocks(contrast, clean_gradients(contrast), [])) == []
