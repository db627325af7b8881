"""Cross-layer transcoders: from folders and from weights, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from saecircuits.edges.attribute import attribute
from saecircuits.errors import DictionaryError, InputError, SiteError
from saecircuits.splicing import observe, splice
from saecircuits.splicing.cross_layer_folder import read_cross_layer
from tests.cross_layer import CrossLayerToy, draw_weights
from tests.models import D_MODEL, N_LAYERS, random_sae

CONFIG = "model_kind: cross_layer_transcoder\nfeature_input_hook: hook_resid_mid\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The random transcoder of `toy_crossing`, as circuit-tracer writes one."""
    weights = draw_weights(N_LAYERS, D_MODEL, seed=9)
    for layer in range(N_LAYERS):
        encoder = {"W_enc": weights.W_enc[layer].T.contiguous(), "b_enc": weights.b_enc[layer]}
        encoder |= {"b_dec": weights.b_dec[layer], "threshold": weights.threshold[layer]}
        named = {f"{name}_{layer}": value for name, value in encoder.items()}
        save_file(named, tmp_path / f"W_enc_{layer}.safetensors")
        decoder = {f"W_dec_{layer}": weights.W_dec[layer]}
        save_file(decoder, tmp_path / f"W_dec_{layer}.safetensors")
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def test_a_folder_is_what_was_written(folder: Path, toy_crossing: CrossLayerToy) -> None:
    model = splice(toy_crossing.model.bridge, read_cross_layer(folder), name="toy")
    assert model.hooks == tuple(f"blocks.{layer}.hook_mlp_out" for layer in range(N_LAYERS))
    assert model.describe()["dictionaries"] == toy_crossing.model.describe()["dictionaries"]
    found, known = (
        observe(m, toy_crossing.prompts.clean_tokens) for m in (model, toy_crossing.model)
    )
    for index in range(N_LAYERS):
        torch.testing.assert_close(found.sites[index].error, known.sites[index].error)


def test_every_decoder_counts_for_the_digest(folder: Path) -> None:
    before = [layer.digest() for layer in read_cross_layer(folder).layers]
    _edit(folder / "W_dec_0.safetensors", lambda found: found["W_dec_0"][3, 2].add_(1))
    after = [layer.digest() for layer in read_cross_layer(folder).layers]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True, True]


def test_rows_of_features_that_are_off_are_not_read(
    folder: Path, toy_crossing: CrossLayerToy
) -> None:
    bridge, tokens = toy_crossing.model.bridge, toy_crossing.prompts.clean_tokens
    acts = observe(toy_crossing.model, tokens).sites[0].features
    used = (acts > 0).flatten(0, 1).any(0)
    _edit(folder / "W_enc_0.safetensors", lambda found: found["threshold_0"][5].fill_(torch.inf))
    for feature, is_read in ((5, False), (int(used.nonzero()[0]), True)):
        _edit(
            folder / "W_dec_0.safetensors",
            lambda found, feature=feature: found["W_dec_0"][feature, 1].fill_(torch.nan),
        )
        model = splice(bridge, read_cross_layer(folder))
        if is_read:
            with pytest.raises(DictionaryError, match=rf"NaN or infinite \(feature {feature},"):
                observe(model, tokens)
        else:
            assert observe(model, tokens).sites[1].error.isfinite().all()


def _edit(path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    found = load_file(path)
    change(found)
    save_file(found, path)


def _renamed(found: dict[str, torch.Tensor], old: str, new: str) -> None:
    found[new] = found.pop(old)


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no settings": (lambda at: (at / "config.yaml").unlink(), "cannot be read"),
    "broken settings": (lambda at: (at / "config.yaml").write_text("a: ["), "is no YAML"),
    "settings of a set": (
        lambda at: (at / "config.yaml").write_text("model_kind: transcoder_set"),
        "'transcoder_set'",
    ),
    "another output": (
        lambda at: (at / "config.yaml").write_text(CONFIG + "feature_output_hook: hook_resid_post"),
        "write 'hook_resid_post'",
    ),
    "a layer in between is missing": (
        lambda at: (at / "W_enc_1.safetensors").unlink(),
        r"encoders of layers \[0, 2\]",
    ),
    "a decoder is missing": (lambda at: (at / "W_dec_1.safetensors").unlink(), "W_dec_1"),
    "a file is cut off": (
        lambda at: (at / "W_dec_1.safetensors").write_bytes(b"\x08"),
        "as safetensors",
    ),
    "skip weights": (
        lambda at: _edit(
            at / "W_enc_1.safetensors", lambda found: _renamed(found, "threshold_1", "W_skip_1")
        ),
        "also has 'W_skip'",
    ),
    "one layer without threshold": (
        lambda at: _edit(at / "W_enc_1.safetensors", lambda found: found.pop("threshold_1")),
        "2 have a threshold",
    ),
    "a threshold below 0": (
        lambda at: _edit(at / "W_enc_2.safetensors", lambda found: found["threshold_2"].sub_(9)),
        "below 0",
    ),
    "encoders that are turned over": (
        lambda at: _edit(
            at / "W_enc_0.safetensors",
            lambda found: found.update(W_enc_0=found["W_enc_0"].T.contiguous()),
        ),
        r"W_enc_0 .* is \[14, 17\], but .* it is \[17, 14\]",
    ),
    "decoders of too few layers": (
        lambda at: _edit(
            at / "W_dec_0.safetensors",
            lambda found: found.update(W_dec_0=found["W_dec_0"][:, :2].contiguous()),
        ),
        "at 2 layers",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_folders_that_are_not_whole_are_refused(folder: Path, case: str) -> None:
    change, message = REFUSED[case]
    change(folder)
    with pytest.raises(DictionaryError, match=message):
        read_cross_layer(folder)


def test_what_does_not_fit_the_model_is_refused(toy_crossing: CrossLayerToy) -> None:
    bridge = toy_crossing.model.bridge
    with pytest.raises(DictionaryError, match="has 2 layers, but the model has 3 blocks"):
        splice(bridge, draw_weights(2, D_MODEL).transcoder("mlp.hook_in"))
    with pytest.raises(DictionaryError, match="width 13"):
        splice(bridge, draw_weights(3, 13).transcoder("mlp.hook_in"))
    with pytest.raises(SiteError, match=r"reads 'blocks\.0\.hook_resid_pre'"):
        splice(bridge, draw_weights(3, D_MODEL).transcoder("hook_in"))


def test_what_is_not_followed_is_refused_by_name(toy_crossing: CrossLayerToy) -> None:
    model, prompts = toy_crossing.model, toy_crossing.prompts
    with pytest.raises(SiteError, match=r"also write at 'blocks\.1\.hook_mlp_out'"):
        model.at(model.hooks[::2])
    with pytest.raises(InputError, match="write at later sites too"):
        attribute(model, prompts, engine="factorised")
    layers = toy_crossing.weights.transcoder("hook_resid_mid").layers
    given = {hook: layer for hook, layer in zip(model.hooks, layers, strict=True)}
    with pytest.raises(SiteError, match="takes the place of the whole stream"):
        splice(model.bridge, {**given, "blocks.0.hook_resid_post": random_sae("standard")})
