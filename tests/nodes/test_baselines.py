"""Baselines: what every node is set to, against values worked out row by row."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from saecircuits.errors import InputError, UnknownNameError
from saecircuits.nodes.baselines import (
    Baseline,
    Batch,
    Donors,
    Reference,
    Values,
    baseline_of,
    unit_means,
)
from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.units import make_units
from saecircuits.splicing import observe
from tests.models import Toy, make_contrast
from tests.tolerance import Tolerance

EXACT: Tolerance = {"rtol": 0, "atol": 1e-12}
# Membership and alignment are float32, so a mean of three is a third to float32's precision.
ROUNDING: Tolerance = {"rtol": 0, "atol": 1e-6}


def _all_values(run: Any) -> list[Tensor]:
    return [run.tokens, *(s.features for s in run.sites), *(s.error for s in run.sites)]


def test_corrupted_is_the_corrupted_run_place_by_place(each_toy: Toy) -> None:
    contrast = make_contrast(each_toy.model, each_toy.prompts, baseline="corrupted")
    run = observe(each_toy.model, each_toy.prompts.corrupted_tokens)
    for base, clean, there in zip(
        _all_values(contrast.baseline), _all_values(contrast.clean), _all_values(run), strict=True
    ):
        torch.testing.assert_close(base[:, 1:], there[:, 1:], **EXACT)
        torch.testing.assert_close(base[:, 0], clean[:, 0], **EXACT)  # BOS


def test_corrupted_takes_means_over_spans_of_other_lengths(toy_uneven: Toy) -> None:
    # Prompt 0: `subject` is tokens 2 and 3 there and token 2 here; prompt 2: tokens 2 to 4
    # against 2 and 3; `rest` goes token for token. Prompt 0 has six tokens, then padding.
    contrast = make_contrast(toy_uneven.model, toy_uneven.prompts, positions="span")
    run = observe(toy_uneven.model, toy_uneven.prompts.corrupted_tokens)
    for base, clean, there in zip(
        _all_values(contrast.baseline), _all_values(contrast.clean), _all_values(run), strict=True
    ):
        rows = [clean[0, 0], there[0, 1], there[0, 2], there[0, 2], there[0, 3], there[0, 4]]
        torch.testing.assert_close(base[0], torch.stack([*rows, clean[0, 6]]), **ROUNDING)
        mean = (there[2, 2] + there[2, 3]) / 2
        rows = [clean[2, 0], there[2, 1], mean, mean, mean, there[2, 4], there[2, 5]]
        torch.testing.assert_close(base[2], torch.stack(rows), **ROUNDING)


def test_zero_leaves_tokens_and_bos_alone(each_toy: Toy) -> None:
    contrast = make_contrast(each_toy.model, each_toy.prompts, baseline="zero")
    torch.testing.assert_close(contrast.baseline.tokens, contrast.clean.tokens, **EXACT)
    for base, clean in zip(
        _all_values(contrast.baseline)[1:], _all_values(contrast.clean)[1:], strict=True
    ):
        torch.testing.assert_close(base[:, 1:], torch.zeros_like(base[:, 1:]), **EXACT)
        torch.testing.assert_close(base[:, 0], clean[:, 0], **EXACT)


def test_mean_is_over_all_tokens_of_the_unit_alike(toy_uneven: Toy) -> None:
    # `start` has 1, 2, 1, 0 and 3 tokens: its mean is over 7 tokens, not over prompts.
    contrast = make_contrast(
        toy_uneven.model, toy_uneven.prompts, positions="span", baseline="mean"
    )
    starts = [(0, 1), (1, 1), (1, 2), (2, 1), (4, 1), (4, 2), (4, 3)]
    for base, clean in zip(
        _all_values(contrast.baseline), _all_values(contrast.clean), strict=True
    ):
        mean = sum(clean[row, position] for row, position in starts) / len(starts)
        for row, position in starts:
            torch.testing.assert_close(base[row, position], mean, **ROUNDING)
        torch.testing.assert_close(base[:, 0], clean[:, 0], **EXACT)
        torch.testing.assert_close(base[1, 5:], clean[1, 5:], **EXACT)  # padding


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_means_do_not_depend_on_the_batch(toy_uneven: Toy, batch_size: int) -> None:
    model, prompts = toy_uneven.model, toy_uneven.prompts
    units = make_units(prompts, "span", tokenizer=model.tokenizer)
    whole = unit_means(model, prompts, units)
    parts = unit_means(model, prompts, units, batch_size=batch_size)
    for left, right in zip(whole.values, parts.values, strict=True):
        torch.testing.assert_close(left, right, **EXACT)


def test_a_unit_that_never_occurs_has_mean_zero(toy_uneven: Toy) -> None:
    model = toy_uneven.model
    prompts = toy_uneven.prompts.subset([3])  # the one without `start`
    means = unit_means(model, prompts, make_units(prompts, "span", tokenizer=model.tokenizer))
    for value in means.values:
        torch.testing.assert_close(value[0], torch.zeros_like(value[0]), **EXACT)
        assert value[1].abs().sum() > 0


@pytest.mark.parametrize("baseline", ["corrupted", "mean", "zero", "resample"])
def test_changes_are_clean_less_baseline(each_toy: Toy, baseline: str) -> None:
    contrast = make_contrast(each_toy.model, each_toy.prompts, positions="span", baseline=baseline)
    for place in contrast.places:
        expected = contrast.clean_value(place) - _written_at_baseline(contrast, place)
        torch.testing.assert_close(contrast.change(place), expected, **EXACT)


def _written_at_baseline(contrast: Contrast, place: int) -> Tensor:
    # Nothing is left of a node that is at its baseline; b_dec and skip weights stay clean.
    if place < 0:
        return contrast.baseline.tokens
    values = replace(contrast.baseline.sites[place], rest=contrast.clean.sites[place].rest)
    W_dec = contrast.model.splices[place].dictionary.W_dec
    return values.features @ W_dec + values.error + values.rest


@pytest.mark.parametrize("seed", [0, 7])
def test_resample_is_the_clean_run_of_another_prompt(toy: Toy, seed: int) -> None:
    reference = Reference(toy.model, toy.prompts, toy.prompts, "each", seed)
    source = baseline_of("resample").supply(reference)
    assert isinstance(source, Donors)
    donors = [
        toy.prompts.clean_tokens.tolist().index(t) for t in source.prompts.clean_tokens.tolist()
    ]
    assert sorted(donors) == list(range(5))
    assert all(row != donor for row, donor in enumerate(donors))
    contrast = make_contrast(toy.model, toy.prompts, baseline="resample", seed=seed)
    clean = _all_values(contrast.clean)
    for base, now in zip(_all_values(contrast.baseline), clean, strict=True):
        torch.testing.assert_close(base[:, 1:], now[donors, 1:], **EXACT)


def test_prompts_of_a_reference_set_may_be_fewer_than_those_they_supply(toy_uneven: Toy) -> None:
    model, prompts = toy_uneven.model, toy_uneven.prompts
    reference = prompts.subset([2, 4])
    given = Reference(model, prompts, reference, "span", seed=0)
    source = baseline_of("resample").supply(given)
    assert isinstance(source, Donors)
    wanted = reference.clean_tokens.tolist()
    assert [wanted.index(tokens) for tokens in source.prompts.clean_tokens.tolist()] == [
        1,
        0,
        1,
        0,
        1,
    ]
    assert source.rows(slice(1, 3)).prompts.clean_lengths.tolist() == [
        int(reference.clean_lengths[row]) for row in (0, 1)
    ]


def test_kinds_are_known_by_name() -> None:
    assert baseline_of("mean").has_reference
    with pytest.raises(UnknownNameError, match="unknown baseline 'corrupt'; did you mean 'corr"):
        baseline_of("corrupt")


class _Halved(Baseline):
    """Half of the clean value everywhere, also where a baseline has nothing to say."""

    name = "halved"
    description = "half of their clean values"

    def values(self, batch: Batch) -> Values:
        return [value / 2 for value in batch.clean]


def test_a_baseline_of_ones_own_holds_inside_units_and_nowhere_else(toy_uneven: Toy) -> None:
    model, prompts = toy_uneven.model, toy_uneven.prompts
    contrast = make_contrast(model, prompts, positions="span", baseline=_Halved())
    inside = (contrast.units.clean >= 0)[..., None]
    assert inside.any() and not inside.all()
    clean = _all_values(contrast.clean)
    for base, now in zip(_all_values(contrast.baseline), clean, strict=True):
        torch.testing.assert_close(base, torch.where(inside, now / 2, now), **EXACT)


def test_a_baseline_of_ones_own_has_a_name_of_its_own() -> None:
    class Mine(_Halved):
        name = "zero"

    with pytest.raises(InputError, match=r"baseline 'zero' is one of this package's; give .*Mine"):
        baseline_of(Mine())
