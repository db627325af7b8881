"""Dictionaries that normalise every token: against sae_lens, and their derivatives."""

from typing import Any

import pytest
import torch
from sae_lens import SAE
from torch import Tensor

from saecircuits.splicing import Dictionary, observe, splice
from saecircuits.splicing.convert import dictionary_from_sae
from tests.models import Toy, random_sae
from tests.tolerance import Tolerance

D_IN, D_OUT = 13, 11
EXACT: Tolerance = {"rtol": 0, "atol": 1e-12}
NORMALISATIONS = ["layer_norm", "constant_norm_rescale"]
KINDS: dict[str, dict[str, Any]] = {
    "standard": {},
    "jumprelu": {},
    "gated": {},
    "topk": {"k": 5, "rescale_acts_by_decoder_norm": True},
    "abstopk": {"k": 5},
    "jumprelu_skip_transcoder": {"d_out": D_OUT},
}
every_kind = pytest.mark.parametrize("kind", KINDS)
both = pytest.mark.parametrize("normalisation", NORMALISATIONS)


def _pair(kind: str, normalisation: str, **more: Any) -> tuple[SAE, Dictionary]:
    options = {**KINDS[kind], "normalize_activations": normalisation, **more}
    sae = random_sae(kind, d_in=D_IN, seed=3, **options)
    return sae, dictionary_from_sae(sae, "here")


def _inputs() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    size = torch.rand(3, 7, 1, generator=generator, dtype=torch.float64) * 5 + 0.1
    return (torch.randn(3, 7, D_IN, generator=generator, dtype=torch.float64) + 0.4) * size


def _mean_and_size(x: Tensor, normalisation: str) -> tuple[Tensor, Tensor]:
    if normalisation == "layer_norm":
        return x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
    return torch.zeros_like(x[..., :1]), x.norm(dim=-1, keepdim=True) / D_IN**0.5


@every_kind
@both
def test_features_are_sae_lens_s_in_units_of_the_stream(kind: str, normalisation: str) -> None:
    sae, dictionary = _pair(kind, normalisation)
    x = _inputs()
    mean, size = _mean_and_size(x, normalisation)
    is_transcoder = "transcoder" in kind
    with torch.no_grad():
        acts = sae.encode(x)
        assert 0.05 < float((acts != 0).double().mean()) < 0.8
        unit = torch.ones_like(size) if is_transcoder else size
        torch.testing.assert_close(dictionary.encode(x), acts * unit, **EXACT)
        # What sae_lens writes: the features, and for a SAE its bias and the mean beside them.
        beside = 0.0 if is_transcoder else size * sae.b_dec + mean
        torch.testing.assert_close(dictionary.reconstruct(x) + beside, sae(x), **EXACT)
        some = torch.tensor([3, 0, 7, 7, 12])
        torch.testing.assert_close(
            dictionary.encode_some(x, some), dictionary.encode(x)[..., some], **EXACT
        )


@every_kind
@both
def test_derivatives_go_through_mean_and_size(kind: str, normalisation: str) -> None:
    sae, dictionary = _pair(kind, normalisation)
    x = _inputs()[0]
    _, size = _mean_and_size(x, normalisation)

    def by_sae_lens(x: Tensor) -> Tensor:
        acts = sae.encode(x)
        return acts if "transcoder" in kind else acts * _mean_and_size(x, normalisation)[1]

    jacobian = torch.stack(
        [torch.autograd.functional.jacobian(by_sae_lens, token) for token in x]  # pyright: ignore
    )  # [pos, d_sae, d_in]
    acts = dictionary.encode(x).detach()
    pos, feature = acts.nonzero().unbind(1)
    rows = dictionary.rows_at(feature, x[pos])
    torch.testing.assert_close(rows, jacobian[pos, feature], rtol=0, atol=1e-11)
    cotangent = torch.randn_like(acts)
    pulled = dictionary.pull_back(cotangent, acts != 0, x)
    expected = torch.einsum("pf,pfd->pd", cotangent, jacobian)
    torch.testing.assert_close(pulled, expected, rtol=0, atol=1e-11)
    # Held, they would be something else.
    held = dictionary.encoder_rows(feature) / (1.0 if "transcoder" not in kind else size[pos])
    assert (rows - held).abs().max() > 0.05


@every_kind
@both
def test_a_feature_is_its_ungated_value_above_where_it_goes_off(
    kind: str, normalisation: str
) -> None:
    _, dictionary = _pair(kind, normalisation)
    x = _inputs().flatten(0, 1)
    features = torch.arange(dictionary.d_sae)
    value, acts = dictionary.ungated(x, features), dictionary.encode(x)
    off_at = dictionary.off_at(features)
    if off_at is None:
        torch.testing.assert_close(value[acts != 0], acts[acts != 0])
        return
    torch.testing.assert_close(
        acts, torch.where(value > off_at * dictionary.unit(x), value, 0.0), **EXACT
    )


@pytest.mark.filterwarnings(r"ignore:\s+This SAE has non-empty")
@both
def test_a_dictionary_of_a_centred_stream_takes_the_length_without_the_mean(
    normalisation: str,
) -> None:
    about = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
    sae, dictionary = _pair("gated", normalisation, metadata=about)
    x = _inputs()
    centred = x - x.mean(-1, keepdim=True)
    _, size = _mean_and_size(centred, normalisation)
    with torch.no_grad():
        expected = sae.encode(centred) * size
    torch.testing.assert_close(dictionary.encode(x), expected, **EXACT)


@both
def test_the_active_features_are_sae_lens_s_in_low_precision(normalisation: str) -> None:
    # Rounding decides which features TopK keeps: it is done in sae_lens's order.
    options = {"k": 7, "normalize_activations": normalisation, "dtype": "bfloat16"}
    sae = random_sae("topk", d_in=67, seed=3, **options)
    dictionary = dictionary_from_sae(sae, "here").to(torch.empty(0, dtype=torch.bfloat16))
    x = torch.randn(211, 67, generator=torch.Generator().manual_seed(2)).bfloat16()
    with torch.no_grad():
        acts = sae.encode(x)
    assert torch.equal(dictionary.encode(x.float()) != 0, acts != 0)


def test_two_digests_where_the_normalisation_differs() -> None:
    digests = {
        dictionary_from_sae(random_sae("standard", normalize_activations=name), "s").digest()
        for name in ("none", *NORMALISATIONS)
    }
    assert len(digests) == 3


def test_mean_and_bias_are_in_the_error_node(toy: Toy) -> None:
    # So that features and error are all of the stream: nothing passes beside the nodes of a site.
    sae = random_sae("jumprelu", seed=7, normalize_activations="layer_norm")
    model = splice(toy.model.bridge, {"blocks.1.hook_resid_post": sae})
    assert model.describe()["normalised"] == {"blocks.1.hook_resid_post": "layer_norm"}
    assert "normalised" not in toy.model.describe()
    (site,) = observe(model, toy.prompts.clean_tokens).sites
    assert not site.rest.any()
    _, cache = toy.model.bridge.run_with_cache(toy.prompts.clean_tokens)
    x = cache["blocks.1.hook_resid_post"]
    with torch.no_grad():
        left_out = x - sae(x)
    beside = x.std(-1, keepdim=True) * sae.b_dec + x.mean(-1, keepdim=True)
    torch.testing.assert_close(site.error, left_out + beside.detach(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("normalisation", ["layer_norm", "constant_norm_rescale"])
def test_a_token_of_equal_entries_has_numbers_for_derivatives(normalisation: str) -> None:
    _, dictionary = _pair("standard", normalisation)
    x = _inputs().flatten(0, 1)
    x[0] = 0.0
    features = torch.arange(len(x)) % dictionary.d_sae
    assert bool(dictionary.encode(x).isfinite().all())
    rows = dictionary.rows_at(features, x)
    assert bool(rows.isfinite().all())
    # The other tokens' are what they are without it.
    torch.testing.assert_close(rows[1:], dictionary.rows_at(features[1:], x[1:]))
    moving = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(dictionary.encode(moving).sum(), moving)
    assert bool(gradient.isfinite().all())


def test_the_record_says_whose_features_have_signs(toy: Toy, toy_unusual: Toy) -> None:
    signed = toy_unusual.model.describe()["signed"]
    assert signed == ["blocks.1.attn.hook_z", "blocks.2.hook_resid_post"]
    run = observe(toy_unusual.model, toy_unusual.prompts.clean_tokens)
    negative = {
        hook
        for hook, site in zip(toy_unusual.model.hooks, run.sites, strict=True)
        if (site.activations.value < 0).any()
    }
    assert negative == set(signed)
    assert "signed" not in toy.model.describe()
