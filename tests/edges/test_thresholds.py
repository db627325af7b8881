"""Edges that cross thresholds, against features that really lose what reaches them."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from saecircuits.edges.attribute import attribute
from saecircuits.edges.blocks import EdgeBlock, all_blocks, chunks
from saecircuits.edges.factorised import FactorisedEdges
from saecircuits.edges.interventions import cut_without, target_change
from saecircuits.edges.reference import ReferenceEdges
from saecircuits.edges.thresholds import Crossed, CrossingEdges, longest_unit, token_by_token
from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.estimators import PlaceGradient, clean_gradients
from saecircuits.nodes.interventions import ERROR, Spot, clean_run, node_change
from saecircuits.nodes.units import Positions
from saecircuits.splicing.loading import load_model
from saecircuits.tasks import load_task
from tests.edges.engines import Table, assert_same, table_of
from tests.edges.test_reference import strongest
from tests.models import Toy, make_contrast

Engine = type[ReferenceEdges] | type[FactorisedEdges]
ENGINES: tuple[Engine, ...] = (ReferenceEdges, FactorisedEdges)
TRANSCODERS = [
    ("transcoders", "span"),
    ("transcoders_and_saes", "sum"),
    ("transcoders_neox", "sum"),
    ("transcoders_phi", "each"),
]
CASES = [("toy", "sum"), ("toy_mixed", "each"), ("toy_uneven", "span"), *TRANSCODERS]


def _sources(contrast: Contrast) -> list[Spot]:
    return [spot for spot in strongest(contrast, per_unit=2) if spot.place < 2]


def _targets(contrast: Contrast) -> list[Spot]:
    """Every feature and error node of every unit: what an error node does depends on them all."""
    return [
        Spot(place, unit, feature)
        for place, splice in enumerate(contrast.model.splices)
        for unit in range(len(contrast.units))
        for feature in range(-1, splice.dictionary.d_sae)
    ]


def _crossing(
    engine: Engine,
    contrast: Contrast,
    gradients: dict[int, PlaceGradient],
    sources: Sequence[Spot],
    crossed: Crossed | None = None,
) -> CrossingEdges:
    return CrossingEdges(
        engine,
        contrast,
        gradients,
        sources,
        finest=longest_unit(contrast.units),
        crossed={} if crossed is None else crossed,
    )


def _is_elementwise(contrast: Contrast, place: int) -> bool:
    return contrast.model.splices[place].dictionary.gate.is_by_feature


@torch.no_grad()
def _really_lost(
    contrast: Contrast, gradients: dict[int, PlaceGradient], source: Spot, target: Spot
) -> Tensor:
    """`dm/dx` times what the target writes less once the source is gone from what it reads."""
    arriving, _ = cut_without(
        contrast,
        clean_run(contrast),
        source.place,
        node_change(contrast, source),
        read_at={target.place},
        reads_metric=False,
    )
    change = target_change(contrast, target, arriving, 0)
    return (change * gradients[target.place].gradient).sum((1, 2))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("fixture", "positions"), CASES)
def test_under_an_affine_operator_every_edge_is_what_the_target_really_loses(
    request: pytest.FixtureRequest, fixture: str, positions: Positions, engine: Engine
) -> None:
    toy: Toy = request.getfixturevalue(fixture)
    contrast = make_contrast(toy.model, toy.prompts, positions=positions, linearization="secant")
    gradients = clean_gradients(contrast)
    sources = _sources(contrast)
    found = table_of(
        all_blocks(_crossing(engine, contrast, gradients, sources), _targets(contrast))
    )
    held = table_of(all_blocks(engine(contrast, gradients, sources), _targets(contrast)))
    moved = {
        edge: float((found[edge] - held[edge])[0].abs().sum())
        for edge in found
        if edge[1] is not None and _is_elementwise(contrast, edge[1].place)
    }
    woken = [edge for edge in moved if moved[edge] and not held[edge].any()]
    errors = [edge for edge in moved if edge[1] is not None and edge[1].feature == ERROR]
    by_move = sorted(moved, key=lambda edge: -moved[edge])
    assert woken, "no feature wakes up, so the test would not see it"
    for edge in [*by_move[:12], *woken[:6], *errors[::23], *by_move[::193]]:
        assert edge[1] is not None
        expected = _really_lost(contrast, gradients, edge[0], edge[1])
        torch.testing.assert_close(found[edge][0], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("fixture", "positions"), [("toy_uneven", "span"), ("toy_unusual", "sum"), *TRANSCODERS]
)
def test_what_leaves_a_source_stays_the_same(
    request: pytest.FixtureRequest, fixture: str, positions: Positions, engine: Engine
) -> None:
    toy: Toy = request.getfixturevalue(fixture)
    contrast = make_contrast(toy.model, toy.prompts, positions=positions)
    gradients, sources = clean_gradients(contrast), _sources(contrast)
    targets = _targets(contrast)
    tables = [
        table_of(all_blocks(some, targets))
        for some in (
            _crossing(engine, contrast, gradients, sources),
            engine(contrast, gradients, sources),
        )
    ]
    moved = 0.0
    for source in sources:
        crossed, held = (
            torch.stack([v[0] for (u, _), v in table.items() if u == source]) for table in tables
        )
        moved += float((crossed - held).abs().sum())
        torch.testing.assert_close(crossed.sum(0), held.sum(0), rtol=1e-9, atol=1e-11)
    assert moved > 0.1
    weights = [torch.stack([table[edge][1] for edge in tables[0]]) for table in tables]
    torch.testing.assert_close(*weights)


def test_the_threshold_of_a_dictionary_that_normalises_is_in_units_of_the_token(
    toy_unusual: Toy,
) -> None:
    # From tokens to the first site, by the formula: what is lost is a slope, the gate the token's.
    contrast = make_contrast(toy_unusual.model, toy_unusual.prompts, positions="each")
    gradients = clean_gradients(contrast)
    dictionary = contrast.model.splices[0].dictionary
    x = contrast.clean.written(contrast.model, 0)
    threshold = dictionary.threshold
    assert threshold is not None

    def size(x: Tensor) -> Tensor:
        return x.std(-1, keepdim=True)

    def ungated(x: Tensor) -> Tensor:
        z = (x - x.mean(-1, keepdim=True)) / (size(x) + 1e-5)
        return size(x) * ((z - dictionary.shift) @ dictionary.W_enc + dictionary.b_enc)

    value = ungated(x)
    _, lost = torch.autograd.functional.jvp(ungated, x, contrast.change(TOKENS))
    assert isinstance(lost, Tensor)

    def gated(value: Tensor) -> Tensor:
        return value * (value > threshold * size(x))

    slope = gradients[0].gradient @ dictionary.W_dec.T
    expected = slope * (gated(value) - gated(value - lost))
    sources = [Spot(TOKENS, unit, ERROR) for unit in range(len(contrast.units))]
    targets = [spot for spot in _targets(contrast) if spot.place == 0 and spot.feature != ERROR]
    found = table_of(all_blocks(_crossing(FactorisedEdges, contrast, gradients, sources), targets))
    crossed = 0
    for target in targets:
        # Position 0 is BOS, which is in no unit.
        pos = target.unit + 1
        edge = found[Spot(TOKENS, target.unit, ERROR), target][0]
        torch.testing.assert_close(edge, expected[:, pos, target.feature], rtol=1e-8, atol=1e-11)
        held = (slope * lost * (gated(value) != 0))[:, pos, target.feature]
        crossed += int(((edge - held).abs() > 1e-6).sum())
    assert crossed > 10


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(("fixture", "positions"), TRANSCODERS)
def test_both_engines_agree_where_transcoders_are(
    request: pytest.FixtureRequest, fixture: str, positions: Positions
) -> None:
    toy: Toy = request.getfixturevalue(fixture)
    contrast = make_contrast(toy.model, toy.prompts, positions=positions)
    gradients, sources = clean_gradients(contrast), _sources(contrast)
    found, expected = (
        table_of(all_blocks(_crossing(engine, contrast, gradients, sources), _targets(contrast)))
        for engine in (FactorisedEdges, ReferenceEdges)
    )
    assert_same(found, expected, 1e-11)


@pytest.mark.parametrize(("fixture", "positions"), [("toy_mixed", "each"), *TRANSCODERS])
def test_parts_add_up_and_the_threshold_is_one_of_them(
    request: pytest.FixtureRequest, fixture: str, positions: Positions
) -> None:
    toy: Toy = request.getfixturevalue(fixture)
    contrast = make_contrast(toy.model, toy.prompts, positions=positions)
    gradients = clean_gradients(contrast)
    engine = _crossing(FactorisedEdges, contrast, gradients, _sources(contrast))
    seen = 0.0
    for block in all_blocks(engine, _targets(contrast)):
        torch.testing.assert_close(block.part_effects.sum(0), block.effects.sum(-1))
        if block.targets is None:
            continue
        assert block.parts[-1].name == "threshold"
        assert block.parts[-1].degree is None
        seen += float(block.part_effects[-1].abs().sum())
        if not _is_elementwise(contrast, block.targets[0].place):
            assert not block.part_effects[-1].any()
    assert seen > 0.1


def test_engines_made_anew_know_what_was_crossed(toy: Toy) -> None:
    contrast = make_contrast(toy.model, toy.prompts, positions="sum")
    gradients, sources = clean_gradients(contrast), _sources(contrast)
    expected = _blocks(_crossing(FactorisedEdges, contrast, gradients, sources), contrast)
    crossed: Crossed = {}

    def made_anew() -> Iterator[EdgeBlock]:
        for some in chunks(_targets(contrast), 7):
            engine = _crossing(FactorisedEdges, contrast, gradients, sources, crossed)
            yield from engine.into(some)

    found = table_of(made_anew())
    assert found.keys() == expected.keys()
    for edge, values in found.items():
        torch.testing.assert_close(values, expected[edge], rtol=1e-9, atol=1e-11)


def _blocks(engine: CrossingEdges, contrast: Contrast) -> Table:
    return table_of(
        block for some in chunks(_targets(contrast), 999) for block in engine.into(some)
    )


def test_units_token_by_token(toy_uneven: Toy) -> None:
    contrast = make_contrast(toy_uneven.model, toy_uneven.prompts, positions="span")
    units = contrast.units
    finest = longest_unit(units)
    assert finest > 1
    fine = token_by_token(units, finest)
    assert len(fine) == finest * len(units)
    for row, whole in zip(fine.clean, units.clean, strict=True):
        inside = row[row >= 0]
        assert len(inside.unique()) == len(inside)
        assert torch.equal(inside // finest, whole[whole >= 0])
    assert longest_unit(fine) == 1
    assert token_by_token(fine, 1) is fine


def test_both_engines_agree_on_the_shipped_model() -> None:
    model = load_model("stories")
    prompts = load_task("agreement", model, limit=4).train
    one, two = (
        attribute(model, prompts, max_nodes=30, engine=engine, parts=False).edges.set_index(
            ["source", "target"]
        )["effect"]
        for engine in ("reference", "factorised")
    )
    assert len(one) > 20
    assert (one - two).abs().max() < 1e-3 * one.abs().max()
