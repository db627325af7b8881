"""Units: which token counts for which node, and which corrupted token stands in for it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from saecircuits.errors import TaskError, UnknownNameError
from saecircuits.nodes.units import Positions, Units, make_units
from tests.models import Toy
from tests.tolerance import Tolerance

ROUNDING: Tolerance = {"rtol": 0, "atol": 1e-6}


def _units(clean: list[list[int]], corrupted: list[list[int]], n_unit: int) -> Units:
    names = tuple(f"u{number}" for number in range(n_unit))
    return Units(names, names, torch.tensor(clean), torch.tensor(corrupted))


def _alignment(units: Units) -> Tensor:
    """[batch, pos, pos]: from each clean token to the corrupted tokens of its own prompt."""
    n_batch = len(units.clean)
    dense = units.alignment.to_dense().unflatten(1, (n_batch, -1)).unflatten(0, (n_batch, -1))
    for clean, corrupted in torch.cartesian_prod(torch.arange(n_batch), torch.arange(n_batch)):
        if clean != corrupted:
            assert not dense[clean, :, corrupted].any()
    return torch.stack([dense[row, :, row] for row in range(n_batch)])


def test_alignment_by_hand() -> None:
    # BOS, u0 of two tokens on both sides, u1 of one token against three, then padding.
    # u0 goes token for token; the one token of u1 takes the mean of its three.
    units = _units([[-1, 0, 0, 1, -1]], [[-1, 0, 0, 1, 1, 1]], 2)
    third = 1 / 3
    expected = torch.tensor(
        [
            [0, 0, 0, 0, 0, 0],
            [0, 1, 0, 0, 0, 0],
            [0, 0, 1, 0, 0, 0],
            [0, 0, 0, third, third, third],
            [0, 0, 0, 0, 0, 0],
        ]
    )
    torch.testing.assert_close(_alignment(units)[0], expected.double(), **ROUNDING)


def test_alignment_of_many_to_few_by_hand() -> None:
    # Three clean tokens of u0 against two: each takes the mean of both. Prompt 1 has no u0 at all.
    units = _units([[-1, 0, 0, 0, 1], [-1, 1, 1, -1, -1]], [[-1, 0, 0, 1], [-1, 1, 1, -1]], 2)
    half = [0, 0.5, 0.5, 0]
    expected = torch.tensor(
        [
            [[0, 0, 0, 0], half, half, half, [0, 0, 0, 1]],
            [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        ]
    )
    torch.testing.assert_close(_alignment(units), expected.double(), **ROUNDING)


def test_units_need_not_be_contiguous() -> None:
    # The second token of u0 stands behind u1 here and before it there.
    units = _units([[-1, 0, 1, 0]], [[-1, 0, 0, 1]], 2)
    expected = torch.tensor([[0.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
    torch.testing.assert_close(_alignment(units)[0], expected.double(), **ROUNDING)


@pytest.mark.parametrize("positions", ["span", "sum"])
def test_alignment_rows_add_up_to_one_inside_units(toy_uneven: Toy, positions: Positions) -> None:
    prompts = toy_uneven.prompts
    units = make_units(prompts, positions, tokenizer=toy_uneven.model.tokenizer)
    inside = (units.clean >= 0).double()
    torch.testing.assert_close(_alignment(units).sum(-1), inside, **ROUNDING)
    # And nothing is taken from padding or BOS of the corrupted prompts.
    from_outside = _alignment(units).sum(1)[units.corrupted < 0]
    torch.testing.assert_close(from_outside, torch.zeros_like(from_outside), **ROUNDING)


def test_each_is_one_unit_per_position(toy: Toy) -> None:
    units = make_units(toy.prompts, "each", tokenizer=toy.model.tokenizer)
    assert units.names == ("1", "2", "3", "4", "5")
    torch.testing.assert_close(units.clean, torch.tensor([[-1, 0, 1, 2, 3, 4]] * 5))
    torch.testing.assert_close(units.corrupted, units.clean)
    torch.testing.assert_close(
        units.membership[0], torch.eye(6)[:, 1:], rtol=0, atol=0
    )  # every token but BOS in a unit of its own
    torch.testing.assert_close(
        _alignment(units)[0], torch.diag(torch.tensor([0.0, 1, 1, 1, 1, 1])).double(), **ROUNDING
    )


def test_span_is_the_task_s_partition(toy_uneven: Toy) -> None:
    prompts = toy_uneven.prompts
    units = make_units(prompts, "span", tokenizer=toy_uneven.model.tokenizer)
    # Prompt 3 has no `start`, so nothing precedes its subject.
    assert units.names == ("start", "subject", "rest")
    expected = [
        [-1, 0, 1, 1, 2, 2, -1],
        [-1, 0, 0, 1, 2, -1, -1],
        [-1, 0, 1, 1, 1, 2, 2],
        [-1, 1, 1, 2, 2, 2, -1],
        [-1, 0, 0, 0, 1, 2, -1],
    ]
    torch.testing.assert_close(units.clean, torch.tensor(expected))
    assert units.membership.sum(1).tolist() == [
        [1, 2, 2],
        [2, 1, 1],
        [1, 3, 2],
        [0, 2, 3],
        [3, 1, 1],
    ]


def test_sum_is_everything_between_bos_and_padding(toy_uneven: Toy) -> None:
    prompts = toy_uneven.prompts
    units = make_units(prompts, "sum", tokenizer=toy_uneven.model.tokenizer)
    assert units.names == ("prompt",)
    assert len(units) == 1
    for row, length in enumerate(prompts.clean_lengths.tolist()):
        assert units.clean[row].tolist() == [-1] + [0] * (length - 1) + [-1] * (7 - length)
    for row, length in enumerate(prompts.corrupted_lengths.tolist()):
        width = prompts.corrupted_tokens.shape[1]
        assert units.corrupted[row].tolist() == [-1] + [0] * (length - 1) + [-1] * (width - length)


def test_texts_are_the_commonest(toy: Toy) -> None:
    class Words:
        def decode(self, ids: list[int]) -> str:
            return "odd" if 4 in ids else "even"

    # Position 1 holds w1, w4, w7, w10, w13: one of five has a 4.
    assert toy.prompts.clean_tokens[:, 1].tolist() == [1, 4, 7, 10, 13]
    assert make_units(toy.prompts, "each", tokenizer=Words()).tokens[0] == "even"
    units = make_units(toy.prompts, "span", tokenizer=toy.model.tokenizer)
    assert [len(text.split()) for text in units.tokens] == [1, 1, 3]


def test_prompts_without_a_span_have_no_say_in_its_text(toy_uneven: Toy) -> None:
    prompts = toy_uneven.prompts.subset([3, 0])  # only the second has a `start`
    units = make_units(prompts, "span", tokenizer=toy_uneven.model.tokenizer)
    assert units.tokens[0] == toy_uneven.model.tokenizer.decode(prompts.clean_tokens[1, 1:2])
    alone = make_units(prompts.subset([0]), "span", tokenizer=toy_uneven.model.tokenizer)
    assert alone.tokens[0] == ""


def test_rows_and_device(toy_uneven: Toy) -> None:
    units = make_units(toy_uneven.prompts, "span", tokenizer=toy_uneven.model.tokenizer)
    some = units.rows(slice(1, 3)).to(torch.device("cpu"))
    torch.testing.assert_close(_alignment(some), _alignment(units)[1:3], rtol=0, atol=0)
    torch.testing.assert_close(some.membership, units.membership[1:3], rtol=0, atol=0)


def _membership_by_hand(units: Units) -> Tensor:
    out = torch.zeros(*units.clean.shape, len(units))
    for row in range(out.shape[0]):
        for position, unit in enumerate(units.clean[row].tolist()):
            if unit >= 0:
                out[row, position, unit] = 1
    return out


@pytest.mark.parametrize("positions", ["span", "sum"])
def test_membership_counts_each_token_once(toy_uneven: Toy, positions: Positions) -> None:
    units = make_units(toy_uneven.prompts, positions, tokenizer=toy_uneven.model.tokenizer)
    torch.testing.assert_close(units.membership, _membership_by_hand(units), rtol=0, atol=0)


def test_refusals(toy: Toy, toy_uneven: Toy) -> None:
    tokenizer = toy.model.tokenizer
    with pytest.raises(TaskError, match=r"found 4 to 7 tokens.*positions='span'"):
        make_units(toy_uneven.prompts, "each", tokenizer=tokenizer)
    with pytest.raises(TaskError, match="names none"):
        make_units(_without_spans(toy_uneven), "span", tokenizer=tokenizer)


def test_unknown_positions_are_refused(toy: Toy) -> None:
    # From below the checks of the tests, as a caller without them would meet it.
    unchecked: Callable[..., Units] = getattr(make_units, "__wrapped__", make_units)
    with pytest.raises(UnknownNameError, match="unknown positions 'spam'; did you mean 'span'"):
        unchecked(toy.prompts, "spam", tokenizer=toy.model.tokenizer)


def _without_spans(toy: Toy):
    from dataclasses import replace

    prompts = toy.prompts
    return replace(
        prompts,
        span_names=(),
        clean_spans=torch.full_like(prompts.clean_spans, -1),
        corrupted_spans=torch.full_like(prompts.corrupted_spans, -1),
    )
