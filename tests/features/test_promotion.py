"""The direct effect on the logits is the model's own final norm and unembedding, scale held."""

import pytest
import torch

from saecircuits.features.promotion import direct_logit_effects, promotions
from saecircuits.splicing.anatomy import read_out
from tests.models import Toy


def test_direct_effects_are_the_change_of_the_logits_up_to_the_norms_scale(toy: Toy) -> None:
    bridge = toy.model.bridge
    direction = toy.model.splices[1].dictionary.W_dec[[3, 8]]
    stream = torch.randn(1, 1, 14, dtype=torch.float64)

    def logits_times_scale(x: torch.Tensor) -> torch.Tensor:
        bias = bridge.ln_final(torch.zeros_like(x))
        scale = (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return ((bridge.ln_final(x) - bias) * scale) @ bridge.W_U

    change = torch.stack(
        [(logits_times_scale(stream + row) - logits_times_scale(stream))[0, 0] for row in direction]
    )
    expected = change - change.mean(-1, keepdim=True)
    torch.testing.assert_close(
        direct_logit_effects(read_out(toy.model), direction), expected, rtol=1e-8, atol=1e-9
    )


def test_the_vocabulary_may_be_widened_in_parts(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    direction = toy.model.splices[1].dictionary.W_dec[[3, 8]]
    whole = direct_logit_effects(toy.model, direction)
    monkeypatch.setattr("saecircuits.features.promotion._WORDS_AT_ONCE", 5)
    torch.testing.assert_close(direct_logit_effects(toy.model, direction), whole)


def test_the_strongest_tokens_come_first_on_both_sides(toy: Toy) -> None:
    features = [4, 0, 17]
    effects = direct_logit_effects(
        read_out(toy.model), toy.model.splices[2].dictionary.W_dec[features]
    )
    found = list(promotions(toy.model, "blocks.2.hook_resid_post", features))
    for row, promotion in zip(effects, found, strict=True):
        order = row.argsort(descending=True).tolist()
        assert [token for token, _ in promotion.promoted] == order[:10]
        assert [token for token, _ in promotion.suppressed] == order[::-1][:10]
        assert promotion.promoted[0][1] > 0 > promotion.suppressed[0][1]


def test_a_direction_made_for_one_token_stands_out_and_a_random_one_does_not() -> None:
    from saecircuits.features.promotion import _strongest

    values = torch.randn(3000, generator=torch.Generator().manual_seed(0))
    assert not _strongest(values).stands_out
    values[7] = 9.0
    assert _strongest(values).stands_out


def test_what_heads_hand_on_is_not_in_the_stream(toy_mixed: Toy) -> None:
    (promotion,) = promotions(toy_mixed.model, "blocks.1.attn.hook_z", [3])
    assert not promotion.promoted and not promotion.suppressed and not promotion.stands_out
    (other,) = promotions(toy_mixed.model, "blocks.1.hook_mlp_out", [3])
    assert other.promoted
