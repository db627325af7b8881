"""The accounting of the secant operator closes: nothing that a feature is remains unexplained.

For every active feature v,  a_v = sum over sources u of W_vu a_u + errors + bias,  exactly, where
the bias is what v would be with every source at zero; and so for the metric.
"""

from pathlib import Path

import pytest
import torch

from saecircuits.nodes.contrast import TOKENS, Contrast
from saecircuits.nodes.effects import node_index
from saecircuits.nodes.estimators import clean_gradients
from saecircuits.nodes.interventions import ERROR, Spot
from tests.architectures import Float64Throughout, family_toy
from tests.by_hand import Raw
from tests.edges.engines import reference_blocks
from tests.models import Toy, make_contrast
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 1e-8, "atol": 1e-10}


def _all_spots(contrast: Contrast) -> list[Spot]:
    index = node_index(contrast)
    return [index.spot(column) for column in range(index.size)]


def _at_zero(contrast: Contrast, raw: Raw):
    """One pass with every feature and error (BOS apart) at zero, tokens and biases as they are."""
    moved = {}
    for place in contrast.places[1:]:
        values = contrast.clean.sites[place]
        taken = values.features @ raw.dictionary(place).W_dec + values.error
        moved[place] = -taken * (contrast.units.clean >= 0)[..., None]
    with torch.no_grad():
        return raw.cut(moved)


@pytest.mark.parametrize("policy", ["recompute", "hold"])
def test_activations_and_metric_are_sums_over_sources(each_toy: Toy, policy: str) -> None:
    _assert_closed(each_toy, policy)


@pytest.mark.parametrize("family", ["llama", "neox", "qwen3"])
def test_so_they_are_in_other_architectures(family: str, tmp_path: Path) -> None:
    with Float64Throughout():
        _assert_closed(family_toy(family, tmp_path), "hold")


def _assert_closed(toy: Toy, policy: str) -> None:
    # With the zero baseline a node's change is its activation; each position is its own unit, so
    # a feature in a unit has one activation, and weight times activation is its contribution.
    contrast = make_contrast(
        toy.model,
        toy.prompts,
        linearization="secant",
        baseline="zero",
        error_policy=policy,
    )
    spots = [spot for spot in _all_spots(contrast) if spot.place != TOKENS]
    raw = Raw(contrast)
    arriving, metric = _at_zero(contrast, raw)
    totals: dict[Spot | None, torch.Tensor] = {}
    for block in reference_blocks(contrast, clean_gradients(contrast), spots):
        shares = block.weights.detach()
        if block.targets is None:
            shares = block.effects.detach()
        else:
            for column, source in enumerate(block.sources):
                if source.feature != ERROR:
                    acts = contrast.clean.sites[source.place].features
                    shares[:, column] *= acts[:, source.unit + 1, source.feature]
        for row, target in enumerate(block.targets or (None,)):
            totals[target] = totals.get(target, 0) + shares[row].sum(0)
    checked = 0
    for place in contrast.places[1:]:
        dictionary = raw.dictionary(place)
        rows = dictionary.encoder_rows(torch.arange(dictionary.d_sae))
        # The encoder without its gate: v is affine in what is read while it is active.
        read, clean_read = arriving[place][0], raw.read[place]
        acts = contrast.clean.sites[place].features
        bias = acts + (read - clean_read) @ rows.T
        for unit in range(len(contrast.units)):
            for feature in range(dictionary.d_sae):
                active = acts[:, unit + 1, feature] > 0
                if not active.any():
                    continue
                total = totals.get(Spot(place, unit, feature), torch.zeros(5).double())
                found = total + bias[:, unit + 1, feature]
                expected = acts[:, unit + 1, feature]
                torch.testing.assert_close(found[active], expected[active], **CLOSE)
                checked += int(active.sum())
    assert checked > 500
    assert isinstance(totals[None], torch.Tensor)
    torch.testing.assert_close(totals[None] + metric, raw.metric().detach(), **CLOSE)
    assert totals[None].abs().min() > 1e-3


def test_in_the_full_model_it_does_not_close(toy_mixed: Toy) -> None:
    # Where norms and gates may change, slopes times activations are not the value.
    contrast = make_contrast(toy_mixed.model, toy_mixed.prompts, baseline="zero")
    raw = Raw(contrast)
    _, metric = _at_zero(contrast, raw)
    spots = [spot for spot in _all_spots(contrast) if spot.place != TOKENS]
    total = sum(
        block.effects.detach().sum((0, 1))
        for block in reference_blocks(contrast, clean_gradients(contrast), spots)
        if block.targets is None
    )
    assert (total + metric - raw.metric().detach()).abs().max() > 1e-2
