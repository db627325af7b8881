"""Edges between sites with whole blocks between them: the engines against each other.

Dictionaries stand on the stream after the first block and after the fourth, so that a way between
them passes three attention layers, and one before and one behind.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from saecircuits.edges.attribute import attribute
from saecircuits.edges.blocks import EdgeBlock, all_blocks, expandable
from saecircuits.edges.factorised import FactorisedEdges, spread
from saecircuits.edges.factorised.rows import Rows
from saecircuits.edges.factorised.walk import Walk
from saecircuits.edges.reference import ReferenceEdges
from saecircuits.edges.thresholds import CrossingEdges, longest_unit
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.interventions import Spot
from saecircuits.nodes.units import Positions
from saecircuits.splicing import SplicedModel, splice
from tests.architectures import Float64Throughout
from tests.edges.engines import assert_same, table_of
from tests.edges.test_reference import strongest
from tests.models import (
    boot,
    build_bridge,
    make_contrast,
    random_sae,
    rotary_sizes,
    toy_prompts,
    uneven_prompts,
)

N_LAYERS = 5
SITES = (0, 3)
TOLERANCE = 1e-9


def _sizes() -> dict[str, Any]:
    return rotary_sizes() | {"num_hidden_layers": N_LAYERS}


def _llama(folder: Path) -> Any:
    """Rotary positions, RMSNorm, a gated MLP, two query heads to a key head."""
    config = transformers.LlamaConfig(**_sizes(), hidden_size=20)
    return boot(transformers.LlamaForCausalLM(config), folder)


def _gemma2(folder: Path) -> Any:
    """Norms after attention and MLP, a sliding window, capped scores and logits."""
    config = transformers.Gemma2Config(
        **_sizes(),
        hidden_size=28,
        sliding_window=4,
        query_pre_attn_scalar=6,
    )
    return boot(transformers.Gemma2ForCausalLM(config), folder)


def _neox(folder: Path) -> Any:
    """Attention and MLP that read the same stream."""
    rotary: dict[str, Any] = {"rotary_pct": 0.5}
    config = transformers.GPTNeoXConfig(
        vocab_size=23,
        bos_token_id=0,
        eos_token_id=0,
        hidden_size=24,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=2,
        intermediate_size=29,
        max_position_embeddings=19,
        initializer_range=0.35,
        **rotary,
    )
    return boot(transformers.GPTNeoXForCausalLM(config), folder)


BUILDERS: dict[str, Callable[[Path], Any]] = {
    "gpt2": lambda folder: build_bridge(folder, n_layers=N_LAYERS),
    "llama": _llama,
    "gemma2": _gemma2,
    "neox": _neox,
}


@pytest.fixture(scope="module", params=BUILDERS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SplicedModel:
    torch.manual_seed(8)
    with Float64Throughout():
        bridge = BUILDERS[request.param](tmp_path_factory.mktemp(request.param))
    return splice(bridge, _on_stream(bridge, "jumprelu"), name=request.param)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> SplicedModel:
    bridge = BUILDERS["gpt2"](tmp_path_factory.mktemp("gpt2"))
    return splice(bridge, _on_stream(bridge, "topk", k=7), name="gpt2")


def _on_stream(bridge: Any, kind: str, **options: Any) -> dict[str, Any]:
    return {
        f"blocks.{layer}.hook_resid_post": random_sae(
            kind, d_in=bridge.cfg.d_model, seed=layer, **options
        )
        for layer in SITES
    }


def _contrast(model: SplicedModel, positions: Positions, **choices: Any) -> Contrast:
    prompts = (toy_prompts if positions == "each" else uneven_prompts)(model.bridge)
    return make_contrast(model, prompts, positions=positions, **choices)


def _blocks(
    engine: Any, contrast: Contrast, nodes: Sequence[Spot], **options: Any
) -> Iterator[EdgeBlock]:
    made = engine(contrast, clean_gradients(contrast), nodes, **options)
    return all_blocks(made, expandable(contrast, nodes))


def _assert_engines_agree(contrast: Contrast, nodes: Sequence[Spot]) -> None:
    found, expected = (
        table_of(_blocks(engine, contrast, nodes)) for engine in (FactorisedEdges, ReferenceEdges)
    )
    assert_same(found, expected, TOLERANCE)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    ("positions", "how"), [("each", "full"), ("span", "full"), ("sum", "full"), ("span", "secant")]
)
def test_engines_agree_over_many_blocks(
    model: SplicedModel, positions: Positions, how: str
) -> None:
    contrast = _contrast(model, positions, linearization=how)
    _assert_engines_agree(contrast, strongest(contrast, per_unit=2))


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("positions", ["each", "span"])
def test_what_stands_before_the_first_source_is_left_out(
    model: SplicedModel, positions: Positions
) -> None:
    # The softmax of a later token still knows the tokens before: its patterns move with all keys.
    contrast = _contrast(model, positions)
    last = len(contrast.units) - 1
    nodes = [spot for spot in strongest(contrast, per_unit=2) if spot.unit == last]
    _assert_engines_agree(contrast, nodes)


@pytest.mark.usefixtures("in_float64")
def test_engines_agree_where_thresholds_are_crossed(model: SplicedModel) -> None:
    contrast = _contrast(model, "span")
    nodes = strongest(contrast, per_unit=2)

    def crossing(engine: Any) -> Callable[..., CrossingEdges]:
        finest = longest_unit(contrast.units)
        return lambda *given: CrossingEdges(engine, *given, finest=finest, crossed={})

    found, expected, held = (
        table_of(_blocks(engine, contrast, nodes))
        for engine in (crossing(FactorisedEdges), crossing(ReferenceEdges), ReferenceEdges)
    )
    assert_same(found, expected, TOLERANCE)
    assert max(float((found[edge] - held[edge]).abs().max()) for edge in held) > 1e-3


@pytest.mark.usefixtures("in_float64")
def test_a_site_on_a_component_between_is_met_on_the_way(model: SplicedModel) -> None:
    bridge, d_model = model.bridge, model.bridge.cfg.d_model
    between = {
        "blocks.1.hook_attn_out": random_sae("jumprelu", d_in=d_model, seed=11),
        "blocks.2.hook_mlp_out": random_sae("gated", d_in=d_model, seed=12),
    }
    both = splice(bridge, _on_stream(bridge, "jumprelu") | between, name=model.name)
    contrast = _contrast(both, "span")
    _assert_engines_agree(contrast, strongest(contrast, per_unit=1))


@pytest.mark.usefixtures("in_float64")
def test_parts_are_the_first_block_and_the_rest(model: SplicedModel) -> None:
    contrast = _contrast(model, "each")
    nodes = strongest(contrast, per_unit=2)
    whole = table_of(_blocks(FactorisedEdges, contrast, nodes, is_split=False))
    attention, mlp = {f"L1.H{head}>later" for head in range(model.bridge.cfg.n_heads)}, "L1.MLP"
    through_both = {name.replace(">later", f">{mlp}>later") for name in attention}
    if contrast.model.name == "neox":
        through_both = set()  # the MLP reads nothing of what attention adds
    for block in _blocks(FactorisedEdges, contrast, nodes):
        effects = torch.stack(
            [whole[u, v][0] for v in block.targets or (None,) for u in block.sources]
        )
        effects = effects.view(block.effects.shape)
        size = float(effects.abs().max())
        torch.testing.assert_close(block.effects, effects, rtol=0, atol=1e-12 * size)
        summed = block.part_effects.sum(0)
        torch.testing.assert_close(summed, effects.sum(-1), rtol=0, atol=1e-11 * size)
        if block.targets is not None and block.targets[0].place == 1:
            expected = {"later", f"{mlp}>later", *attention, *through_both}
            assert {part.name for part in block.parts} == expected


def test_a_block_that_writes_nothing_changes_no_part(tmp_path: Path) -> None:
    # With and without it between two sites, parts come by other ways through the code: rows that
    # have been spread over their tokens, and rows that have not.
    bridge = BUILDERS["gpt2"](tmp_path)
    block = bridge.original_model.transformer.h[2]
    with torch.no_grad():
        for layer in (block.attn.c_proj, block.mlp.c_proj):
            for weight in getattr(layer, "original_component", layer).parameters():
                weight.zero_()
    parts: list[dict[Any, Tensor]] = []
    for last in (1, 2):
        saes = {0: random_sae("jumprelu", seed=0), last: random_sae("jumprelu", seed=3)}
        named = {f"blocks.{layer}.hook_resid_post": sae for layer, sae in saes.items()}
        contrast = _contrast(splice(bridge, named, name="gpt2"), "span")
        found = {}
        for block in _blocks(FactorisedEdges, contrast, strongest(contrast, per_unit=2)):
            if block.targets is None or block.targets[0].place != 1:
                continue
            for part, effects in zip(block.parts, block.part_effects, strict=True):
                name = part.name.removesuffix("later").removesuffix(">") or "residual"
                found[block.sources, block.targets, name, part.through] = effects
        parts.append(found)
    near, far = parts
    assert near.keys() == far.keys()
    assert {key[3] for key in near} == {"", "value", "key", "query"}
    for key, effects in near.items():
        assert effects.any()
        torch.testing.assert_close(
            far[key], effects, rtol=0, atol=1e-11 * float(effects.abs().max())
        )


def test_in_pieces_or_at_once(gpt2: SplicedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    contrast = _contrast(gpt2, "sum")
    nodes = strongest(contrast, per_unit=3)
    expected = table_of(_blocks(FactorisedEdges, contrast, nodes))
    walked, back = [], Walk._back
    monkeypatch.setattr(Walk, "_back", lambda *given: walked.append(given) or back(*given))
    table_of(_blocks(FactorisedEdges, contrast, nodes))
    at_once = len(walked)
    monkeypatch.setattr(spread, "_HELD", 1)
    found = table_of(_blocks(FactorisedEdges, contrast, nodes))
    assert len(walked) - at_once > 2 * at_once
    assert_same(found, expected, 1e-12)


def test_where_gates_are_held_nothing_that_is_off_is_followed(
    gpt2: SplicedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[bool] = []
    back = Walk.back_from

    def counted(walk: Walk, *given: Any) -> Iterator[Any]:
        followed.append(walk._is_asleep)
        return back(walk, *given)

    monkeypatch.setattr(Walk, "back_from", counted)
    prompts = toy_prompts(gpt2.bridge)
    graphs = [
        attribute(gpt2, prompts, positions="each", max_nodes=30, thresholds=thresholds)
        for thresholds in ("crossed", "held")
    ]
    assert followed and not any(followed)
    tables = [
        graph.edges.set_index(["source", "target"])["effect"].sort_index() for graph in graphs
    ]
    torch.testing.assert_close(*(torch.tensor(table.to_numpy()) for table in tables))


def test_rows_are_spread_from_the_first_token_to_their_own() -> None:
    def whole(*values: int) -> Tensor:
        return torch.tensor(values)

    ones = torch.ones(3)
    rows = Rows(
        n_target=2,
        n_prompt=2,
        origin=whole(0, 1, 2),
        prompt=whole(0, 1, 1),
        pos=whole(4, 3, 6),
        target=whole(0, 0, 1),
        effect_weight=ones,
        plain_weight=ones,
        first=whole(2, 3, 3),
    )
    found = rows.spread()
    assert found.origin.tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
    assert found.pos.tolist() == [2, 3, 4, 3, 3, 4, 5, 6]
    assert found.prompt.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    one, other = spread.planes(found)
    assert (one.shape, one.cell) == ((1, 3), None)
    assert other.shape == (2, 4) and other.tokens == slice(3, 7)
    assert other.cell is not None and other.cell.tolist() == [0, 4, 5, 6, 7]
    assert spread.pieces(whole(3, 1, 4), 4) == [slice(0, 2), slice(2, 3)]
    assert spread.pieces(whole(9, 9), 4) == [slice(0, 1), slice(1, 2)]
