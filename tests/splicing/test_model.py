"""`SplicedModel`: the splice is the identity, and the caller's model is as it was."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saecircuits.errors import DictionaryError, ModelError, SiteError, UnknownNameError
from saecircuits.splicing import observe, splice
from saecircuits.splicing.observation import check_error_policy, pass_through
from tests.by_hand import hand_metric
from tests.models import D_SAE, N_LAYERS, Toy, build_bridge, make_contrast, random_sae
from tests.tolerance import Tolerance

CLOSE: Tolerance = {"rtol": 0, "atol": 1e-11}
RESID = "blocks.1.hook_resid_post"


@pytest.mark.parametrize("policy", ["recompute", "hold"])
def test_with_its_errors_the_splice_is_the_identity(each_family: Toy, policy: str) -> None:
    model, tokens = each_family.model, each_family.prompts.clean_tokens
    errors = [site.error for site in observe(model, tokens).sites] if policy == "hold" else None
    with torch.no_grad():
        bare = model.bridge(tokens)
        spliced = model.forward(tokens, at_site=pass_through(model, errors))
    torch.testing.assert_close(spliced, bare, **CLOSE)


def test_without_their_errors_the_splice_is_not(each_family: Toy) -> None:
    # The identity above is no accident of dictionaries that reconstruct well.
    model, tokens = each_family.model, each_family.prompts.clean_tokens
    no_errors = [torch.zeros_like(site.error) for site in observe(model, tokens).sites]
    with torch.no_grad():
        spliced = model.forward(tokens, at_site=pass_through(model, no_errors))
        assert (spliced - model.bridge(tokens)).abs().max() > 0.1


def test_hold_passes_a_change_through_features_alone(toy: Toy) -> None:
    # Move the first site by 1e-7 along one direction: under `hold` the second site's change is
    # that of its features, W_dec^T (active * (e . dx)), and its error stays.
    model, tokens = toy.model, toy.prompts.clean_tokens
    errors = [site.error for site in observe(model, tokens).sites]
    through = pass_through(model, errors)
    write = torch.randn(5, 6, model.splices[1].dictionary.d_in, dtype=torch.float64)
    dictionary = model.splices[1].dictionary
    expected = dictionary.decode(dictionary.encode(write)) + errors[1]
    torch.testing.assert_close(through(1, write, write), expected, **CLOSE)


def test_observation_puts_every_written_tensor_together(each_family: Toy) -> None:
    model, tokens = each_family.model, each_family.prompts.clean_tokens
    run = observe(model, tokens)
    with torch.no_grad():
        logits, cache = model.bridge.run_with_cache(tokens)
    torch.testing.assert_close(run.logits, logits, **CLOSE)
    torch.testing.assert_close(run.tokens, cache["hook_embed"], **CLOSE)
    for index, spliced in enumerate(model.splices):
        read = cache[spliced.site.read_hook].reshape(*tokens.shape, -1)
        written = cache[spliced.site.hook].reshape(*tokens.shape, -1)
        dictionary, values = spliced.dictionary, run.sites[index]
        torch.testing.assert_close(run.written(model, index), written, **CLOSE)
        torch.testing.assert_close(values.features, dictionary.encode(read), **CLOSE)
        torch.testing.assert_close(values.error, written - dictionary.reconstruct(read), **CLOSE)
        share = float((values.features > 0).double().mean())
        assert 0.05 < share < 0.8
        assert values.error.abs().max() > 0.1


def test_metric_reads_each_prompt_s_own_last_token(toy_uneven: Toy) -> None:
    contrast = make_contrast(toy_uneven.model, toy_uneven.prompts, positions="span")
    logits = torch.randn(10, contrast.tokens.shape[1], 23, dtype=torch.float64)
    expected = [hand_metric(part, toy_uneven.prompts) for part in logits.split(5)]
    torch.testing.assert_close(contrast.metric(logits), torch.stack(expected), **CLOSE)


def test_at_site_is_called_once_per_site_in_order(toy_mixed: Toy) -> None:
    model, tokens = toy_mixed.model, toy_mixed.prompts.clean_tokens
    called: list[tuple[int, int, int]] = []

    def at_site(index: int, read: Tensor, write: Tensor) -> None:
        called.append((index, read.shape[-1], write.shape[-1]))

    model.forward(tokens, at_site=at_site)
    widths = [(s.dictionary.d_in, s.dictionary.d_out) for s in model.splices]
    assert called == [(index, *width) for index, width in enumerate(widths)]


def test_what_at_site_returns_takes_the_tensor_s_place(toy_mixed: Toy) -> None:
    # Against one plain hook on the bare bridge, at every site and at the tokens.
    model, tokens = toy_mixed.model, toy_mixed.prompts.clean_tokens
    for index, spliced in enumerate(model.splices):
        value = torch.randn(*tokens.shape, spliced.dictionary.d_out, dtype=torch.float64)

        def replace(tensor: Tensor, hook: Any, value: Tensor = value) -> Tensor:
            return value.reshape(tensor.shape)

        with torch.no_grad():
            expected = model.bridge.run_with_hooks(tokens, fwd_hooks=[(spliced.site.hook, replace)])
            found = model.forward(
                tokens, at_site=lambda i, r, w, at=index, v=value: v if i == at else None
            )
        torch.testing.assert_close(found, expected, **CLOSE)
    embedding = torch.randn(*tokens.shape, 14, dtype=torch.float64)
    with torch.no_grad():
        expected = model.bridge.run_with_hooks(
            tokens, fwd_hooks=[("hook_embed", lambda tensor, hook: embedding)]
        )
        found = model.forward(tokens, at_tokens=lambda value: embedding)
    torch.testing.assert_close(found, expected, **CLOSE)


def _state(bridge: Any) -> dict[str, Any]:
    return {
        "hooks": {
            name: (len(point.fwd_hooks), len(point.bwd_hooks), len(point._forward_hooks))
            for name, point in bridge.hook_dict.items()
        },
        "training": [module.training for module in bridge.modules()],
        "trainable": [parameter.requires_grad for parameter in bridge.parameters()],
        "grads": [parameter.grad is None for parameter in bridge.parameters()],
        "weights": [parameter.detach().clone() for parameter in bridge.parameters()],
    }


def _assert_same(after: dict[str, Any], before: dict[str, Any]) -> None:
    for left, right in zip(after.pop("weights"), before.pop("weights"), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)
    assert after == before


@pytest.fixture
def touchy(tmp_path: Path) -> Any:
    """A bridge in training mode with some parameters frozen: a state worth keeping."""
    bridge = build_bridge(tmp_path)
    bridge.train()
    for number, parameter in enumerate(bridge.parameters()):
        parameter.requires_grad_(number % 3 != 0)
    list(bridge.modules())[5].training = False
    modes = {module.training for module in bridge.modules()}
    assert modes == {parameter.requires_grad for parameter in bridge.parameters()} == {True, False}
    return bridge


def test_the_caller_s_model_is_as_it_was(touchy: Any) -> None:
    before = _state(touchy)
    model = splice(touchy, {RESID: random_sae("standard")})
    tokens = torch.tensor([[0, 3, 7, 1]])
    value = torch.randn(1, 4, 14, dtype=torch.float64, requires_grad=True)
    # GPT-2 drops out in training mode: two equal results say that it did not.
    first, again = (model.forward(tokens, at_site=lambda *_: value) for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    first.sum().backward()
    assert value.grad is not None
    _assert_same(_state(touchy), before)


def test_nothing_drops_out_in_training_mode(touchy: Any) -> None:
    # The dropout on GPT-2's embeddings is in the Hugging Face model, and in no part of the bridge.
    model = splice(touchy, {RESID: random_sae("standard")})
    tokens = torch.tensor([[0, 3, 7, 1]])
    with torch.no_grad():
        found, again = model.forward(tokens), model.forward(tokens)
        expected = touchy.eval()(tokens)
    torch.testing.assert_close(found, again, rtol=0, atol=0)
    torch.testing.assert_close(found, expected)


def test_also_after_an_exception_inside(touchy: Any) -> None:
    before = _state(touchy)
    model = splice(touchy, {RESID: random_sae("standard")})

    def at_site(index: int, read: Tensor, write: Tensor) -> Tensor:
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        model.forward(torch.tensor([[0, 1]]), at_site=at_site, at_tokens=lambda tokens: tokens)
    with pytest.raises(DictionaryError):
        splice(touchy, {RESID: random_sae("standard", d_in=13)})
    _assert_same(_state(touchy), before)


def test_hooks_of_the_caller_s_own_stay_and_fire(touchy: Any) -> None:
    calls: list[str] = []
    touchy.add_hook(RESID, lambda tensor, hook: calls.append("mine"))
    model = splice(touchy, {RESID: random_sae("standard")})
    calls.clear()
    tokens = torch.tensor([[0, 1, 2]])
    model.forward(tokens, at_site=lambda *_: None)
    model.forward(tokens)
    touchy(tokens)
    assert calls == ["mine"] * 3


def test_the_caller_s_sae_is_as_it_was(toy: Toy) -> None:
    sae = random_sae("gated", seed=8)
    before = {name: value.detach().clone() for name, value in sae.named_parameters()}
    model = splice(toy.model.bridge, {RESID: sae})
    tokens = toy.prompts.clean_tokens
    errors = [site.error.requires_grad_() for site in observe(model, tokens).sites]
    model.forward(tokens, at_site=pass_through(model, errors)).sum().backward()
    for name, value in sae.named_parameters():
        torch.testing.assert_close(value.detach(), before[name], rtol=0, atol=0)
        assert value.requires_grad
        assert value.grad is None


def test_splice_refuses_what_does_not_fit(toy: Toy) -> None:
    bridge = toy.model.bridge
    with pytest.raises(SiteError, match="at least one"):
        splice(bridge, {})
    with pytest.raises(UnknownNameError, match=r"'blocks\.1\.hook_resid_pos'.*did you mean"):
        splice(bridge, {"blocks.1.hook_resid_pos": random_sae("standard")})
    with pytest.raises(SiteError, match="can sit at hook_embed"):
        splice(bridge, {"blocks.1.attn.hook_pattern": random_sae("standard")})
    with pytest.raises(DictionaryError, match=r"reads width 13.*has width 14"):
        splice(bridge, {RESID: random_sae("standard", d_in=13)})
    with pytest.raises(
        SiteError, match=r"2 dictionaries were given for 'blocks.1.hook_resid_post'"
    ):
        splice(bridge, {RESID: random_sae("standard"), "blocks.1.hook_out": random_sae("gated")})
    # Nothing of the failed attempts is left behind.
    assert not any(point.fwd_hooks for point in bridge.hook_dict.values())


def test_a_wrong_width_to_write_is_refused(toy: Toy) -> None:
    sae = random_sae("transcoder", d_out=13, metadata={"hook_name": "blocks.1.mlp.hook_in"})
    with pytest.raises(DictionaryError, match=r"writes width 13.*has width 14"):
        splice(toy.model.bridge, {"blocks.1.hook_mlp_out": sae})


@pytest.mark.parametrize("metadata", [{}, {"hook_name": "blocks.1.hook_mlp_out"}])
def test_a_transcoder_that_does_not_say_what_it_reads_is_refused(
    toy: Toy, metadata: dict[str, str]
) -> None:
    # Taken for a SAE it would read the tensor that it writes.
    with pytest.raises(SiteError, match="does not say what it reads"):
        splice(
            toy.model.bridge,
            {"blocks.1.hook_mlp_out": random_sae("transcoder", metadata=metadata)},
        )


@pytest.mark.parametrize("hook", ["attn.hook_out", "mlp.hook_out"])
def test_a_block_s_output_before_its_last_norm_is_no_site(gemma2: Toy, hook: str) -> None:
    # Gemma 2 normalises what attention and MLP write before adding it: two tensors, not one.
    with pytest.raises(SiteError, match=f"'blocks.0.{hook}'.*'blocks.0.hook_"):
        splice(gemma2.model.bridge, {f"blocks.0.{hook}": random_sae("standard", d_in=28)})


def test_a_hook_that_never_fires_is_refused(llama: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    # A hook point that the bridge lists and never calls, as if it could be a site.
    kind = "attn.hook_hidden_states"
    monkeypatch.setattr(
        "saecircuits.splicing.sites._WRITE_KINDS", {kind: "heads", "hook_mlp_out": "mlp_out"}
    )
    with pytest.raises(SiteError, match=rf"'blocks\.1\.{kind}' exists but did not fire"):
        splice(llama.model.bridge, {f"blocks.1.{kind}": random_sae("standard", d_in=20)})


def test_a_transcoder_whose_input_never_fires_is_refused(
    llama: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "attn.hook_hidden_states"
    monkeypatch.setattr("saecircuits.splicing.sites._TRANSCODER_READS", (kind,))
    sae = random_sae("transcoder", d_in=20, metadata={"hook_name": f"blocks.1.{kind}"})
    with pytest.raises(SiteError, match=rf"'blocks\.1\.{kind}' exists but did not fire before"):
        splice(llama.model.bridge, {"blocks.1.hook_mlp_out": sae})


def test_sites_are_in_order_and_found_by_name(toy: Toy, toy_mixed: Toy) -> None:
    shuffled = splice(
        toy.model.bridge,
        {f"blocks.{layer}.hook_resid_post": random_sae("standard") for layer in (2, 0, 1)},
    )
    assert shuffled.hooks == toy.model.hooks
    assert [toy.model.index(hook) for hook in toy.model.hooks] == list(range(N_LAYERS))
    with pytest.raises(UnknownNameError, match=r"unknown spliced site 'blocks.0.hook_mlp_out'"):
        toy.model.index("blocks.0.hook_mlp_out")
    fewer = toy_mixed.model.at(("blocks.1.hook_resid_post", "blocks.0.hook_resid_pre"))
    assert fewer.hooks == ("blocks.0.hook_resid_pre", "blocks.1.hook_resid_post")
    assert len(toy_mixed.model.hooks) == 6


def test_description_changes_with_the_weights(toy: Toy, tmp_path: Path) -> None:
    same = splice(build_bridge(tmp_path / "same"), {RESID: random_sae("standard")}, name="a")
    other = splice(build_bridge(tmp_path / "other"), {RESID: random_sae("standard")}, name="a")
    assert same.describe() == other.describe()
    assert same.describe()["model_digest"] == toy.model.describe()["model_digest"]
    with torch.no_grad():
        next(other.bridge.parameters()).flatten()[3] += 1e-9
    changed = splice(other.bridge, {RESID: random_sae("standard", seed=1)}, name="a").describe()
    assert changed["model_digest"] != same.describe()["model_digest"]
    assert changed["dictionaries"][RESID] != same.describe()["dictionaries"][RESID]
    assert (same.dtype, same.n_ctx) == (torch.float64, 19)
    assert same.splices[0].dictionary.d_sae == D_SAE


def test_policies_are_known_by_name() -> None:
    check_error_policy("hold")
    with pytest.raises(UnknownNameError, match="unknown error policy 'held'; did you mean 'hold'"):
        check_error_policy("held")


def test_a_dictionary_with_nan_is_refused_before_anything_else(touchy: Any) -> None:
    sae = random_sae("standard")
    with torch.no_grad():
        sae.W_dec[3, 5] = torch.nan
    with pytest.raises(DictionaryError, match=f"'{RESID}' has 1 of 434 entries of W_dec"):
        splice(touchy, {RESID: sae})


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_model_with_nan_is_refused_by_tensor(touchy: Any, bad: float) -> None:
    with torch.no_grad():
        touchy.original_model.transformer.wte.weight[21, 3] = bad  # a token that may never be read
    with pytest.raises(ModelError, match=r"has 1 of 322 entries of transformer.wte.weight that"):
        splice(touchy, {RESID: random_sae("standard")})


def test_tensors_that_overflow_are_refused(tmp_path: Path) -> None:
    # In float16 nothing above 65,504 is a number; the weights themselves are.
    bridge = build_bridge(tmp_path).to(torch.float16)
    model = splice(bridge, {RESID: random_sae("standard")}, name="loud")
    with torch.no_grad():
        bridge.original_model.transformer.h[1].ln_2.weight.fill_(60000.0)
    with pytest.raises(ModelError, match="logits of model 'loud' are NaN in float16; choose"):
        splice(bridge, {RESID: random_sae("standard")}, name="loud")
    with pytest.raises(
        ModelError, match=r"'loud' .* NaN or infinite .* in float16; choose a dtype"
    ):
        observe(model, torch.tensor([[0, 3, 7, 1]]))
