"""`Dictionary` against sae_lens's own encode, decode and forward, and against autograd."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sae_lens import SAE
from torch import Tensor

from saecircuits.errors import DictionaryError
from saecircuits.splicing import Dictionary
from saecircuits.splicing.activations import encode_sparse
from saecircuits.splicing.convert import check_finite, check_widths, dictionary_from_sae
from tests.models import D_SAE, random_sae
from tests.tolerance import Tolerance

D_IN, D_OUT = 13, 11
EXACT: Tolerance = {"rtol": 0, "atol": 1e-12}

# Every supported kind: sae_lens's name, its options, and whether it reads one width and writes
# another.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "standard": ("standard", {}),
    "standard without shift": ("standard", {"apply_b_dec_to_input": False}),
    "jumprelu": ("jumprelu", {}),
    "topk": ("topk", {"k": 5}),
    "topk rescaled": ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True}),
    "abstopk": ("abstopk", {"k": 5}),
    "abstopk rescaled": ("abstopk", {"k": 5, "rescale_acts_by_decoder_norm": True}),
    "gated": ("gated", {}),
    "transcoder": ("transcoder", {"d_out": D_OUT}),
    "skip_transcoder": ("skip_transcoder", {"d_out": D_OUT}),
    "jumprelu_transcoder": ("jumprelu_transcoder", {"d_out": D_OUT}),
    "jumprelu_skip_transcoder": ("jumprelu_skip_transcoder", {"d_out": D_OUT}),
}
CENTRED = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
every_kind = pytest.mark.parametrize("name", KINDS)
advice_of_sae_lens = pytest.mark.filterwarnings(r"ignore:\s+This SAE has non-empty")


def _pair(name: str, **more: Any) -> tuple[SAE, Dictionary]:
    architecture, options = KINDS[name]
    sae = random_sae(architecture, d_in=D_IN, seed=3, **{**options, **more})
    return sae, dictionary_from_sae(sae, "blocks.0.hook_resid_post")


def _inputs(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 7, D_IN, generator=generator, dtype=torch.float64)


@every_kind
def test_encode_and_decode_are_sae_lens_s(name: str) -> None:
    sae, dictionary = _pair(name)
    x = _inputs()
    with torch.no_grad():
        acts = sae.encode(x)
        share = float((acts != 0).double().mean())
        assert 0.05 < share < 0.8, "the example must have open and closed gates"
        torch.testing.assert_close(dictionary.encode(x), acts, **EXACT)
        torch.testing.assert_close(dictionary.decode(acts), sae.decode(acts), **EXACT)
        # sae_lens's own forward is the one place where it adds the skip weights.
        torch.testing.assert_close(dictionary.reconstruct(x), sae(x), **EXACT)


@every_kind
def test_skip_is_forward_less_decode(name: str) -> None:
    sae, dictionary = _pair(name)
    x = _inputs()
    with torch.no_grad():
        left = sae(x) - sae.decode(sae.encode(x))
    torch.testing.assert_close(left + 0.0, torch.zeros_like(left) + dictionary.skip(x), **EXACT)
    assert bool(left.abs().max() > 0.1) == ("skip" in name)


@every_kind
def test_widths(name: str) -> None:
    _, dictionary = _pair(name)
    d_out = D_OUT if "transcoder" in name else D_IN
    assert (dictionary.d_in, dictionary.d_sae, dictionary.d_out) == (D_IN, D_SAE, d_out)
    check_widths(dictionary, "here", d_read=D_IN, d_write=d_out)
    with pytest.raises(DictionaryError, match=f"'here' reads width {D_IN}.*width 17"):
        check_widths(dictionary, "here", d_read=17, d_write=d_out)
    with pytest.raises(DictionaryError, match=f"'here' writes width {d_out}.*width 17"):
        check_widths(dictionary, "here", d_read=D_IN, d_write=17)


@every_kind
def test_encoder_rows_are_the_derivative_of_active_features(name: str) -> None:
    _, dictionary = _pair(name)
    x = _inputs()[0, 0]
    jacobian = torch.autograd.functional.jacobian(dictionary.encode, x)  # [d_sae, d_in]
    active = dictionary.encode(x) != 0
    rows = dictionary.encoder_rows(torch.arange(D_SAE))
    torch.testing.assert_close(jacobian[active], rows[active], **EXACT)
    torch.testing.assert_close(jacobian[~active], torch.zeros_like(jacobian[~active]), **EXACT)
    some = torch.tensor([17, 2, 2, 30])
    torch.testing.assert_close(dictionary.encoder_rows(some), rows[some], **EXACT)


@every_kind
def test_pull_back_is_autograd_s(name: str) -> None:
    _, dictionary = _pair(name)
    x = _inputs().requires_grad_()
    acts = dictionary.encode(x)
    cotangent = torch.randn_like(acts)
    (expected,) = torch.autograd.grad(acts, x, cotangent)
    torch.testing.assert_close(dictionary.pull_back(cotangent, acts != 0, x), expected, **EXACT)


@every_kind
def test_gates_are_affine_while_the_active_set_holds(name: str) -> None:
    # a(x + h) - a(x) = h . e_j for active j, for steps too small to open or close a gate.
    _, dictionary = _pair(name)
    x = _inputs()
    step = 1e-7 * torch.randn_like(x)
    before, after = dictionary.encode(x), dictionary.encode(x + step)
    torch.testing.assert_close(after != 0, before != 0)
    rows = dictionary.encoder_rows(torch.arange(D_SAE))
    torch.testing.assert_close(
        after - before, (step @ rows.T) * (before != 0), rtol=1e-6, atol=1e-14
    )


@pytest.mark.parametrize("name", ["topk", "topk rescaled"])
def test_topk_keeps_at_most_k(name: str) -> None:
    _, dictionary = _pair(name)
    x = torch.cat([_inputs(), 0.01 * _inputs(1)])
    assert int((dictionary.encode(x) > 0).sum(-1).max()) == 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [0.0, -1.5])
@pytest.mark.parametrize("rescaled", [False, True])
def test_topk_keeps_sae_lens_s_features(rescaled: bool, bias: float, dtype: torch.dtype) -> None:
    # In bfloat16 values are often equal, and which of them is kept is for topk to say: on the same
    # numbers it says the same. With the bias lowered fewer than k of them are positive.
    options = {"d_sae": 512, "k": 24, "rescale_acts_by_decoder_norm": rescaled}
    sae = random_sae("topk", d_in=D_IN, seed=4, **options)
    with torch.no_grad():
        sae.get_parameter("b_enc").add_(bias)
    sae.to(dtype)
    dictionary = dictionary_from_sae(sae, "blocks.0.hook_resid_post")
    x = torch.randn(400, D_IN, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.no_grad():
        expected = sae.encode(x)
    assert torch.equal(dictionary.encode(x), expected)
    assert torch.equal(encode_sparse(dictionary, x[None]).dense()[0], expected)
    least = int((expected > 0).sum(-1).min())
    assert least < 24 if bias else least == 24


@pytest.mark.parametrize("k", [5, 31])
def test_a_row_without_length_is_off(k: int) -> None:
    # Measured in units of a row of length 0 a feature is 0 whatever is read; sae_lens then
    # multiplies 0 by infinity.
    options = {"k": k, "rescale_acts_by_decoder_norm": True}
    sae = random_sae("topk", d_in=D_IN, seed=3, **options)
    with torch.no_grad():
        sae.W_dec[11] = 0.0
    dictionary = dictionary_from_sae(sae, "blocks.0.hook_resid_post")
    acts = dictionary.encode(_inputs())
    assert not acts[..., 11].any()
    with torch.no_grad():
        torch.testing.assert_close(acts, sae.encode(_inputs()), **EXACT)
        lengths = sae.W_dec.norm(dim=-1)
        expected = sum(acts[..., [j]] * sae.W_dec[j] / lengths[j] for j in range(D_SAE) if j != 11)
    torch.testing.assert_close(dictionary.decode(acts), expected + sae.b_dec.detach(), **EXACT)


def test_jumprelu_closes_below_its_threshold() -> None:
    # One feature that reads the input itself: 0.3 is positive, but not above the threshold 0.5,
    # and neither is 0.5.
    dictionary = Dictionary(
        kind="jumprelu",
        W_enc=torch.ones(1, 1),
        b_enc=torch.zeros(1),
        W_dec=torch.ones(1, 1),
        b_dec=torch.zeros(1),
        shift=torch.zeros(1),
        threshold=torch.tensor([0.5]),
    )
    x = torch.tensor([[-1.0], [0.3], [0.5], [0.75]])
    torch.testing.assert_close(
        dictionary.encode(x), torch.tensor([[0.0], [0.0], [0.0], [0.75]]), rtol=0, atol=0
    )


@advice_of_sae_lens
@pytest.mark.parametrize(
    "name", ["standard", "standard without shift", "jumprelu", "topk", "topk rescaled", "gated"]
)
def test_centred_dictionary_reads_the_stream_less_its_mean(name: str) -> None:
    sae, dictionary = _pair(name, metadata=CENTRED)
    x = _inputs() + 2.0  # a mean that matters
    mean = x.mean(-1, keepdim=True)
    with torch.no_grad():
        acts = sae.encode(x - mean)
        assert float((sae.encode(x) - acts).abs().max()) > 0.1
        torch.testing.assert_close(dictionary.encode(x), acts, **EXACT)
        torch.testing.assert_close(dictionary.reconstruct(x), sae(x - mean), **EXACT)
    # So the mean is part of the error: it moves by as much as the stream's mean does.
    torch.testing.assert_close(
        x + 5.0 - dictionary.reconstruct(x + 5.0), x - dictionary.reconstruct(x) + 5.0, **EXACT
    )


@advice_of_sae_lens
@pytest.mark.parametrize(
    ("architecture", "options"),
    [("skip_transcoder", {}), ("standard", {"reshape_activations": "hook_z"})],
)
def test_what_does_not_read_the_stream_is_never_centred(
    architecture: str, options: dict[str, Any]
) -> None:
    # On a centred stream a norm and a head give out what they gave out before.
    plain = dictionary_from_sae(random_sae(architecture, d_in=D_IN), "s")
    flagged = dictionary_from_sae(
        random_sae(architecture, d_in=D_IN, metadata=CENTRED, **options), "s"
    )
    torch.testing.assert_close(flagged.encode(_inputs()), plain.encode(_inputs()), **EXACT)


@pytest.mark.parametrize("kind", ["matching_pursuit", "temporal", "batchtopk"])
def test_unsupported_kinds_are_refused(kind: str) -> None:
    sae = SimpleNamespace(cfg=SimpleNamespace(architecture=lambda: kind))
    with pytest.raises(DictionaryError, match=f"'blocks.3.here' is of kind '{kind}'.*jumprelu"):
        dictionary_from_sae(sae, "blocks.3.here")


@pytest.mark.parametrize(
    ("normalisation", "advice"),
    [
        ("expected_average_only_in", r"call sae.fold_activation_norm_scaling_factor\(factor\)"),
        ("covariance_whitening", r"call sae.fold_activation_whitening\(mean, "),
    ],
)
def test_normalisation_inside_is_refused(normalisation: str, advice: str) -> None:
    sae = random_sae("standard", normalize_activations=normalisation)
    expected = f"'blocks.3.here' normalises.*'{normalisation}'.*{advice}"
    with pytest.raises(DictionaryError, match=expected):
        dictionary_from_sae(sae, "blocks.3.here")


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "gated", "topk"])
def test_the_advice_on_scales_gives_the_trained_dictionary(kind: str) -> None:
    options = {"k": 5} if kind == "topk" else {}
    settings = {"d_in": D_IN, "seed": 3, **options}
    trained = random_sae(kind, **settings)  # reads what was scaled
    sae = random_sae(kind, normalize_activations="expected_average_only_in", **settings)
    x, factor = _inputs(), 0.37
    sae.fold_activation_norm_scaling_factor(factor)
    dictionary = dictionary_from_sae(sae, "s")
    with torch.no_grad():
        acts = trained.encode(factor * x)
        torch.testing.assert_close(dictionary.encode(x), acts, **EXACT)
        expected = trained.decode(acts) / factor
    torch.testing.assert_close(dictionary.reconstruct(x), expected, **EXACT)


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "topk"])
@pytest.mark.parametrize("subtracts", [True, False])
def test_the_advice_on_whitening_gives_the_trained_dictionary(kind: str, subtracts: bool) -> None:
    options = {"k": 5} if kind == "topk" else {}
    settings = {"d_in": D_IN, "seed": 3, "apply_b_dec_to_input": subtracts, **options}
    trained = random_sae(kind, **settings)  # reads what was whitened
    sae = random_sae(kind, normalize_activations="covariance_whitening", **settings)
    generator = torch.Generator().manual_seed(9)
    mean = torch.randn(D_IN, generator=generator, dtype=torch.float64)
    whiten = torch.randn(D_IN, D_IN, generator=generator, dtype=torch.float64)
    sae.fold_activation_whitening(mean, whiten, torch.linalg.inv(whiten))
    dictionary = dictionary_from_sae(sae, "s")
    x = _inputs()
    with torch.no_grad():
        acts = trained.encode((x - mean) @ whiten)
        torch.testing.assert_close(dictionary.encode(x), acts, rtol=0, atol=1e-10)
        expected = trained.decode(acts) @ torch.linalg.inv(whiten) + mean
    torch.testing.assert_close(dictionary.reconstruct(x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("normalisation", ["layer_norm", "constant_norm_rescale"])
def test_a_flag_that_was_only_set_is_seen_through(normalisation: str) -> None:
    # Folding a factor into such a SAE sets its settings to none and goes on normalising.
    sae = random_sae("standard", d_in=D_IN, normalize_activations=normalisation)
    sae.fold_activation_norm_scaling_factor(1.0)
    assert sae.cfg.normalize_activations == "none"
    before = set(vars(sae))
    with pytest.raises(DictionaryError, match=r"its settings say 'none'.*load it anew"):
        dictionary_from_sae(sae, "s")
    assert set(vars(sae)) == before


@every_kind
def test_weights_that_are_no_numbers_are_refused_by_name(name: str) -> None:
    for bad in (torch.nan, torch.inf, -torch.inf):
        sae, _ = _pair(name)
        for weight_name, weight in sae.named_parameters():
            before = weight.detach().clone()
            with torch.no_grad():
                weight.flatten()[2] = bad
            broken = dictionary_from_sae(sae, "blocks.3.here")
            if weight_name == "threshold" and bad == torch.inf:
                check_finite(broken, "blocks.3.here")  # a feature that is always off
                assert not broken.encode(_inputs())[..., 2].any()
            elif not (weight_name == "r_mag" and bad == -torch.inf):  # exp(-inf) is 0: off
                expected = r"'blocks.3.here' has \d+ of \d+ entries of \w+ that are NaN"
                with pytest.raises(DictionaryError, match=expected):
                    check_finite(broken, "blocks.3.here")
            with torch.no_grad():
                weight.copy_(before)
        check_finite(dictionary_from_sae(sae, "blocks.3.here"), "blocks.3.here")


@every_kind
def test_conversion_copies(name: str) -> None:
    sae, dictionary = _pair(name)
    before = {key: value.detach().clone() for key, value in sae.named_parameters()}
    for value in vars(dictionary).values():
        if isinstance(value, Tensor):
            assert not value.requires_grad
            value.fill_(7.0)
    for key, value in sae.named_parameters():
        assert value.requires_grad
        torch.testing.assert_close(value.detach(), before[key], rtol=0, atol=0)


@every_kind
def test_to_moves_every_tensor(name: str) -> None:
    _, dictionary = _pair(name)
    moved = dictionary.to(torch.zeros(1, dtype=torch.float32))
    kinds = {value.dtype for value in vars(moved).values() if isinstance(value, Tensor)}
    assert kinds == {torch.float32}
    x = _inputs()
    torch.testing.assert_close(
        moved.reconstruct(x.float()), dictionary.reconstruct(x).float(), rtol=1e-4, atol=1e-4
    )


def test_digest_tells_dictionaries_apart() -> None:
    _, same = _pair("topk")
    assert same.digest() == _pair("topk")[1].digest()
    others = [_pair(name)[1] for name in KINDS]
    others.append(_pair("topk", k=4)[1])
    others.append(same.to(torch.zeros(1, dtype=torch.bfloat16)))
    assert len({dictionary.digest() for dictionary in others}) == len(others)


@pytest.mark.parametrize("name", ["standard", "jumprelu", "gated", "topk", "abstopk"])
def test_a_feature_is_its_ungated_value_above_where_it_goes_off(name: str) -> None:
    _, dictionary = _pair(name)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(11, dictionary.d_in, generator=generator, dtype=torch.float64)
    features = torch.tensor([3, 0, 7, 7, 12])
    off_at, value = dictionary.off_at(features), dictionary.ungated(x, features)
    acts = dictionary.encode(x)[:, features]
    if off_at is None:
        assert name in ("topk", "abstopk")
        assert bool((acts < 0).any()) == (name == "abstopk")
        torch.testing.assert_close(value[acts != 0], acts[acts != 0])
        return
    assert 0 < int((acts > 0).sum()) < acts.numel()
    torch.testing.assert_close(acts, torch.where(value > off_at, value, 0.0))
