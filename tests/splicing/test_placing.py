"""Where dictionaries belong whose names leave a choice, decided by what they reconstruct."""

from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE

from saecircuits.errors import SiteError
from saecircuits.splicing import Dictionary, SplicedModel, observe, placing, splice
from saecircuits.splicing.convert import dictionary_from_sae
from tests.architectures import Float64Throughout, build
from tests.models import D_MODEL, D_SAE, Toy, random_sae

OUT = "blocks.1.hook_mlp_out"
STEM = "blocks.1."
FIRST = "blocks.0.hook_resid_pre"


def _linear_transcoder(bridge: Any, read: str) -> SAE:
    """What the MLP gives, as far as that is linear in a tensor: least squares on many tokens."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, bridge.cfg.d_vocab, (40, 12), generator=generator)
    _, cache = bridge.run_with_cache(tokens)
    x, y = (cache[name].flatten(0, 1) for name in (STEM + read, OUT))
    sae = random_sae("skip_transcoder", metadata={"hook_name": f"{STEM}hook_mlp_in"})
    solved = torch.linalg.lstsq(torch.cat([x, torch.ones_like(x[:, :1])], 1), y).solution
    with torch.no_grad():
        for value in sae.parameters():
            value.zero_()
        sae.get_parameter("W_skip").copy_(solved[:-1].T)
        sae.get_parameter("b_dec").copy_(solved[-1])
    return sae


def _read(model: SplicedModel) -> str:
    return model.splices[0].site.read_hook.removeprefix(STEM)


@pytest.mark.parametrize("read", ["mlp.hook_in", "hook_resid_mid"])
def test_a_name_of_two_tensors_is_the_one_that_explains_more(toy: Toy, read: str) -> None:
    sae = _linear_transcoder(toy.model.bridge, read)
    assert _read(splice(toy.model.bridge, {OUT: sae})) == read


@pytest.mark.parametrize(
    ("hf_name", "read"),
    [
        ("model.layers.1.pre_feedforward_layernorm.output", "mlp.hook_in"),
        ("model.layers.1.mlp.input", "mlp.hook_in"),
        ("transformer.h.1.ln_2.output", "mlp.hook_in"),
        ("model.layers.1.pre_feedforward_layernorm.input", "hook_resid_mid"),
    ],
)
def test_hugging_face_s_name_decides(toy: Toy, hf_name: str, read: str) -> None:
    about = {"hook_name": f"{STEM}hook_mlp_in", "hf_hook_name": hf_name}
    sae = random_sae("transcoder", metadata=about)
    assert _read(splice(toy.model.bridge, {OUT: sae})) == read


def test_where_nothing_tells_it_is_refused(toy: Toy) -> None:
    sae = random_sae("transcoder", metadata={"hook_name": f"{STEM}hook_mlp_in"})
    with torch.no_grad():
        sae.W_enc.zero_()  # reads nothing
    with pytest.raises(SiteError, match=r"a name of two tensors.*does not tell which.*hook_resid"):
        splice(toy.model.bridge, {OUT: sae})


def test_a_tensor_of_two_names_of_which_one_is_computed(tmp_path: Path) -> None:
    # OPT has no module for an MLP, whose input has no hook point that fires.
    bridge = build("opt", tmp_path)
    for read in ("mlp.hook_in", "ln2.hook_out"):
        sae = random_sae("transcoder", metadata={"hook_name": STEM + read})
        assert _read(splice(bridge, {OUT: sae})) == "ln2.hook_out"


def test_a_norm_behind_the_mlp_is_nothing_that_a_transcoder_reads(tmp_path: Path) -> None:
    bridge = build("olmo2", tmp_path)
    for read in ("ln2.hook_normalized", "ln2.hook_out"):
        about = {"hook_name": STEM + read}
        sae = random_sae("transcoder", d_in=bridge.cfg.d_model, metadata=about)
        with pytest.raises(SiteError, match=r"in this model blocks.1.ln2 norms what the MLP gives"):
            splice(bridge, {OUT: sae})


def test_where_all_tokens_lie_one_after_the_other(tmp_path: Path) -> None:
    tokens = torch.tensor([[0, 3, 9], [0, 5, 2]])
    sae = random_sae("transcoder", metadata={"hook_name": f"{STEM}ln2.hook_normalized"})
    with Float64Throughout():
        bridge = build("opt", tmp_path)
        (site,) = observe(splice(bridge, {OUT: sae}), tokens).sites
        _, cache = bridge.run_with_cache(tokens)
    read = cache[f"{STEM}ln2.hook_normalized"]
    assert read.ndim == 2
    torch.testing.assert_close(site.features, sae.encode(read).unflatten(0, (2, 3)).detach())


def test_embeddings_are_read_as_they_enter_the_stream(tmp_path: Path) -> None:
    tokens = torch.tensor([[0, 3, 9]])
    with Float64Throughout():
        bridge = build("gemma2", tmp_path)
        sae = random_sae("jumprelu", d_in=bridge.cfg.d_model, seed=5)
        model = splice(bridge, {"hook_embed": sae})
        (site,) = observe(model, tokens).sites
        _, cache = bridge.run_with_cache(tokens)
        with torch.no_grad():
            torch.testing.assert_close(site.features, sae.encode(cache[FIRST]))
    assert model.hooks == ("embed.hook_out",)


@pytest.mark.parametrize("is_of_stream", [True, False])
def test_the_units_of_embeddings_are_those_that_explain_more(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, is_of_stream: bool
) -> None:
    # As of a bridge whose hook point of embeddings lies before the model multiplies them.
    root = D_MODEL**0.5
    tokens = torch.randn(23, D_MODEL, dtype=torch.float64)
    seen = {"hook_embed": tokens, FIRST: root * tokens}
    monkeypatch.setattr(placing, "_seen", lambda bridge, names: seen)
    # The identity for what is above minus `lift`: all there is, or all of the smaller numbers.
    lift = float(tokens.abs().max()) * (root if is_of_stream else 1.0)
    eye = torch.eye(D_MODEL, D_SAE, dtype=torch.float64)
    bias = torch.full((D_SAE,), lift, dtype=torch.float64)
    dictionary = Dictionary(
        kind="relu",
        W_enc=eye,
        b_enc=bias,
        W_dec=eye.T.contiguous(),
        b_dec=-bias[:D_MODEL],
        shift=0 * bias[:D_MODEL],
    )
    found = placing.of_embeddings(toy.model.bridge, dictionary)
    torch.testing.assert_close(found.W_enc, root * eye if is_of_stream else eye)


def test_a_dictionary_in_other_units() -> None:
    sae = random_sae("topk", k=5, rescale_acts_by_decoder_norm=True)
    plain = dictionary_from_sae(sae, "s")
    x = torch.randn(7, D_MODEL, dtype=torch.float64)
    scaled = placing.in_units_of(plain, 5.3)
    torch.testing.assert_close(scaled.encode(x), plain.encode(5.3 * x))
    torch.testing.assert_close(scaled.reconstruct(x), plain.reconstruct(5.3 * x) / 5.3)
