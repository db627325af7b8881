"""What a site writes: by hand, between its ends, and the same however it is asked for."""

from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.interventions import ERROR
from saecircuits.nodes.write import (
    asked_about,
    put,
    shares_of_tokens,
    tokens_where,
    write_at,
)
from tests.models import Toy, make_contrast

POLICIES = ("recompute", "hold")
CLOSE: dict[str, Any] = {"rtol": 0.0, "atol": 1e-11}


def _streams(contrast: Contrast, index: int, n_set: int) -> tuple[Tensor, Tensor]:
    """Any streams, not those of the clean run: one for each of some sets."""
    splice = contrast.model.splices[index]
    shape = (n_set, *contrast.tokens.shape)
    write = torch.randn(*shape, splice.dictionary.d_out, dtype=torch.float64)
    if not splice.site.is_transcoder:
        return write, write
    return torch.randn(*shape, splice.dictionary.d_in, dtype=torch.float64), write


@pytest.mark.parametrize("policy", POLICIES)
def test_shares_by_hand(each_toy: Toy, policy: str) -> None:
    contrast = make_contrast(
        each_toy.model, each_toy.prompts, positions="span", error_policy=policy
    )
    inside = contrast.units.clean >= 0
    rows = tokens_where(inside)
    for index, splice in enumerate(contrast.model.splices):
        dictionary, base = splice.dictionary, contrast.baseline.sites[index]
        read, write = _streams(contrast, index, 3)
        shares = torch.rand(3, len(contrast.units), dictionary.d_sae + 1, dtype=torch.float64)
        can = write_at(contrast, index, rows, read=read, write=write)
        found = put(can.of(shares_of_tokens(shares, contrast, rows)), rows, into=write)

        by_token = shares[:, contrast.units.clean]
        error = write - dictionary.reconstruct(read)
        if policy == "hold":
            error = contrast.clean.sites[index].error.expand_as(write)
        acts = base.features + by_token[..., :-1] * (dictionary.encode(read) - base.features)
        mixed = base.error + by_token[..., -1:] * (error - base.error)
        expected = dictionary.decode(acts) + dictionary.skip(read) + mixed
        expected = torch.where(inside[..., None], expected, write)
        torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("policy", POLICIES)
def test_some_nodes_are_every_node_with_the_others_at_0(toy_mixed: Toy, policy: str) -> None:
    contrast = make_contrast(
        toy_mixed.model, toy_mixed.prompts, positions="span", error_policy=policy
    )
    rows = tokens_where(contrast.units.clean >= 0)
    for index, splice in enumerate(contrast.model.splices):
        read, write = _streams(contrast, index, 2)
        n_all = splice.dictionary.d_sae + 1
        for named in ([7, 3], [3, ERROR], [ERROR]):
            asked, columns = asked_about(named, contrast.model.device)
            shares = torch.rand(2, len(rows), n_all, dtype=torch.float64)
            others = [
                node for node in range(n_all) if (node if node < n_all - 1 else ERROR) not in named
            ]
            shares[..., others] = 0
            some = torch.zeros(2, len(rows), asked.n_node, dtype=torch.float64)
            for feature in named:
                some[..., columns[feature]] = shares[..., feature]
            every = write_at(contrast, index, rows, read=read, write=write).of(shares)
            found = write_at(contrast, index, rows, asked, read=read, write=write).of(some)
            torch.testing.assert_close(found, every, **CLOSE)


def test_truth_values_are_0_and_1(toy_mixed: Toy) -> None:
    contrast = make_contrast(toy_mixed.model, toy_mixed.prompts, positions="each")
    rows = tokens_where(contrast.units.clean >= 0)
    read, write = _streams(contrast, 0, 2)
    can = write_at(contrast, 0, rows, read=read, write=write)
    kept = torch.rand(2, len(rows), contrast.model.splices[0].dictionary.d_sae + 1) > 0.5
    assert torch.equal(can.of(kept), can.of(kept.double()))


@pytest.mark.parametrize("policy", POLICIES)
def test_all_others_as_they_are_are_every_node_with_the_others_at_1(
    toy_mixed: Toy, policy: str
) -> None:
    contrast = make_contrast(
        toy_mixed.model, toy_mixed.prompts, positions="span", error_policy=policy
    )
    rows = tokens_where(contrast.units.clean >= 0)
    named = (5, 2, ERROR)
    asked, columns = asked_about(named, contrast.model.device)
    for index, splice in enumerate(contrast.model.splices):
        read, write = _streams(contrast, index, 2)
        every = write_at(contrast, index, rows, read=read, write=write)
        shares = torch.ones(2, len(rows), splice.dictionary.d_sae + 1, dtype=torch.float64)
        can = write_at(contrast, index, rows, asked, read=read, write=write).among(every.of(shares))
        some = torch.rand(2, len(rows), asked.n_node, dtype=torch.float64)
        for feature in named:
            shares[..., feature] = some[..., columns[feature]]
        torch.testing.assert_close(can.of(some), every.of(shares), **CLOSE)
        # Of a set that starts from the second stream.
        again = can.of_states(torch.tensor([1])).of(some[1:])
        torch.testing.assert_close(again[0], every.of(shares)[1], **CLOSE)


def test_shapes_are_checked_where_that_is_asked_for(pytestconfig: pytest.Config) -> None:
    lacks_an_axis = torch.tensor([True, False, True])
    if pytestconfig.getoption("jaxtyping_packages"):
        with pytest.raises(TypeCheckError, match="batch pos"):
            tokens_where(lacks_an_axis)
    else:
        assert tokens_where(lacks_an_axis).tolist() == [0, 2]
