"""The memory limit: what it decides, that it is kept, and that it changes nothing else."""

import multiprocessing
import resource
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from saecircuits.edges.attribute import attribute
from saecircuits.edges.memory import plan_memory, targets_at_once
from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import InputError
from tests.models import Toy

SMALL = 251_000_000


def _settings(**given: Any) -> AttributionSettings:
    """Settings of what a user may write, text included."""
    return AttributionSettings(**given)


def _plan(toy: Toy, limit: int, **choices: Any) -> tuple[int, bool, int]:
    settings = _settings(memory_limit=limit, max_edges=100, **choices)
    plan = plan_memory(toy.model, toy.prompts, settings)
    at_once = targets_at_once(plan, toy.model, toy.prompts, settings, n_source=40, n_unit=5)
    return plan.batch_size, plan.is_kept, at_once


def test_less_memory_means_smaller_batches_that_are_made_anew(toy: Toy) -> None:
    assert _plan(toy, 4_000_000_000) == (32, True, 512)
    batch_size, is_kept, at_once = _plan(toy, SMALL)
    assert 1 <= batch_size < 32
    assert not is_kept
    assert 1 <= at_once < 512
    # Runs at eight points of a line take more room than one.
    averaged = _plan(toy, SMALL + 3_000_000, estimator="integrated_gradients")
    assert _plan(toy, SMALL + 3_000_000)[1] and not averaged[1]


def test_not_even_one_prompt_fits(toy: Toy) -> None:
    with pytest.raises(InputError, match=r"memory_limit is 0.1 GB, but one prompt of 6 tokens"):
        attribute(toy.model, toy.prompts, memory_limit="100MB")


def test_text_and_numbers_say_the_same() -> None:
    assert _settings(memory_limit="2GB").memory_limit == 2_000_000_000
    with pytest.raises(InputError, match="memory_limit is 'much'; give bytes, or text like '4GB'"):
        _settings(memory_limit="much")


@pytest.mark.parametrize(
    ("name", "estimator"), [("toy_mixed", "gradient"), ("toy", "integrated_gradients")]
)
def test_runs_made_anew_give_the_same_graph(
    name: str, estimator: str, request: pytest.FixtureRequest
) -> None:
    toy = request.getfixturevalue(name)
    model, prompts = toy.model, toy.prompts
    choices = {
        "estimator": estimator,
        "edge_steps": 2,
        "max_nodes": 24,
        "max_edges": 200,
        "batch_size": 1,
    }
    kept, anew = (
        attribute(model, prompts, memory_limit=limit, **choices)
        for limit in (4_000_000_000, SMALL + 700_000)
    )
    for name in ("nodes", "edges", "edge_parts"):
        left, right = getattr(kept, name), getattr(anew, name)
        keys = [column for column in ("node", "source", "target", "part") if column in left]
        left, right = (table.sort_values(keys).reset_index(drop=True) for table in (left, right))
        pd.testing.assert_frame_equal(left, right, rtol=1e-7, atol=1e-10)
    some = kept.nodes["node"].iloc[1:9].tolist()
    faithful = [graph.checked(None).faithfulness(some) for graph in (kept, anew)]
    assert faithful[0] == pytest.approx(faithful[1], abs=1e-9)


@pytest.mark.slow
def test_a_long_prompt_stays_within_the_limit(tmp_path: Path) -> None:
    # 600 tokens: what is quadratic in them is most of it.
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        above, edges = pool.apply(_grown, (str(tmp_path), "700MB"))
    assert edges > 10_000
    assert above < 700_000_000


def _grown(folder: str, limit: str) -> tuple[int, int]:
    """In a process of its own: bytes by which attributing a long prompt raises its peak."""
    import torch

    from tests.long_prompts import build_long

    model, prompts = build_long(Path(folder), n_pos=600)
    with torch.no_grad():
        model.forward(prompts.clean_tokens[:, :9])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    graph = attribute(
        model,
        prompts,
        positions="each",
        max_nodes=None,
        max_edges=20_000,
        target_threshold=1e-4,
        memory_limit=limit,
    )
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * (after - before), int(graph.summary["edges_computed"])
