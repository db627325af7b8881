"""What is timed is the work that it is said to be, on a model small enough to look at."""

import pytest
import torch

from experiments.bench.engines import ENGINES
from experiments.bench.sizes import Loaded, load_random
from experiments.bench.work import edges, prepare, set_up, spread
from saecircuits.nodes.interventions import Spot
from tests.experiments.bench.sizes import TINY


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load_random(TINY)


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_finds_every_edge(name: str, loaded: Loaded) -> None:
    work = prepare(loaded)
    assert len(work.sources) == TINY.n_sources
    assert len(work.targets) == TINY.n_targets
    found = edges(set_up(ENGINES[name], work), work.targets)
    assert found.edges == TINY.n_edges
    assert found.clock.cpu > 0


def test_engines_agree(loaded: Loaded) -> None:
    work = prepare(loaded)
    totals = [edges(set_up(one, work), work.targets).totals for one in ENGINES.values()]
    first = torch.tensor([totals[0][spot] for spot in work.targets])
    for other in totals[1:]:
        there = torch.tensor([other[spot] for spot in work.targets])
        torch.testing.assert_close(there, first, rtol=1e-3, atol=1e-6 * float(first.max()))


def test_a_sample_is_spread_evenly() -> None:
    targets = [Spot(place, unit, 0) for place in (1, 2) for unit in range(12)]
    assert [spot.unit for spot in spread(targets, 4)] == [0, 3, 6, 9, 0, 3, 6, 9]
    assert spread(targets, None) == targets
    # The smaller sample is part of the larger: engines can be compared on it.
    assert set(spread(targets, 3)) <= set(spread(targets, 6))


def test_drawing_a_model_leaves_the_generator_alone() -> None:
    before = torch.random.get_rng_state()
    load_random(TINY)
    assert torch.equal(torch.random.get_rng_state(), before)
