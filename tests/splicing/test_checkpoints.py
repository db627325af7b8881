"""Checkpoints that are not whole, and bridges that compute something else, are refused."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from saecircuits.errors import DictionaryError, ModelError
from saecircuits.splicing import booting, splice
from saecircuits.splicing.loading import load_model
from saecircuits.splicing.reproduction import check_reproduction
from saecircuits.splicing.section import without_blocks
from tests.architectures import build
from tests.model_folder import HOOKS, write_manifest, write_model_folder
from tests.models import boot, build_llama, random_sae, rotary_sizes

HEAD = "lm_head.weight"
NORM = "transformer.h.1.ln_1.weight"


def _changed(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def _folder(tmp_path: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    """A model folder whose manifest is right about a checkpoint that is not."""
    folder = write_model_folder(tmp_path / "tiny")
    _changed(folder / "model" / "model.safetensors", change)
    entries = [{"path": f"saes/{hook}", "kind": "sae", "hook_name": hook} for hook in HOOKS]
    write_manifest(folder, entries)
    return folder


def test_a_missing_weight_is_refused_by_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = _folder(tmp_path, lambda tensors: tensors.pop(NORM))
    capfd.readouterr()
    with pytest.raises(ModelError, match=rf"not whole: it lacks {NORM}; fetch it again"):
        load_model(folder)
    assert "LOAD REPORT" not in "".join(capfd.readouterr())  # it is said once


def test_a_missing_head_that_is_not_tied_is_refused(tmp_path: Path) -> None:
    build_llama(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    place = {"dtype": torch.float32, "device": torch.device("cpu")}
    booting.boot(str(path.parent), **place)
    _changed(path, lambda tensors: tensors.pop(HEAD))
    with pytest.raises(ModelError, match=f"it lacks {HEAD}"):
        booting.boot(str(path.parent), **place)


def test_a_tied_head_may_be_left_out(tmp_path: Path) -> None:
    # GPT-2's head is its embedding, and its checkpoint holds it once.
    folder = write_model_folder(tmp_path / "tiny")
    assert HEAD not in load_file(folder / "model" / "model.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert load_model(folder).hooks == HOOKS


def test_another_shape_is_refused_with_both(tmp_path: Path) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[NORM] = torch.zeros(3)
        tensors["of.another.model"] = torch.zeros(2)

    folder = _folder(tmp_path, change)
    expected = rf"{NORM} is \[3\] where the configuration says \[14\]; unused tensors: of.another"
    with pytest.raises(ModelError, match=expected):
        load_model(folder)


def test_tensors_that_nothing_uses_are_said(tmp_path: Path) -> None:
    folder = _folder(tmp_path, lambda tensors: tensors.update(other=torch.zeros(2)))
    with pytest.warns(UserWarning, match="has unused tensors: other"):
        load_model(folder)


def test_a_dictionary_without_a_tensor_is_refused_on_one_line(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "tiny")
    _changed(folder / "saes" / HOOKS[1] / "sae_weights.safetensors", lambda t: t.pop("b_enc"))
    entries = [{"path": f"saes/{hook}", "kind": "sae", "hook_name": hook} for hook in HOOKS]
    write_manifest(folder, entries)
    with pytest.raises(DictionaryError, match=r'Missing key.*"b_enc"') as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", ["Cohere", "Cohere2"])
def test_a_bridge_that_computes_something_else_is_refused(tmp_path: Path, family: str) -> None:
    config = getattr(transformers, f"{family}Config")(**rotary_sizes(), hidden_size=24)
    bridge = boot(getattr(transformers, f"{family}ForCausalLM")(config), tmp_path)
    alone = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float64, attn_implementation="eager"
    )
    tokens = torch.arange(1, 13)[None]
    with torch.no_grad():
        expected, found = alone(tokens).logits, bridge(tokens)
    assert (found - expected).abs().max() > 0.3 * expected.abs().max()
    sae = random_sae("jumprelu", d_in=24)
    with pytest.raises(ModelError, match=r"logits are off by [4-9]\d% of the largest"):
        splice(bridge, {"blocks.0.hook_resid_post": sae})


@pytest.mark.parametrize("family", ["gpt2", "neox", "gemma2", "phi"])
def test_others_pass_until_they_compute_something_else(tmp_path: Path, family: str) -> None:
    bridge = build(family, tmp_path)
    before = {name: value.clone() for name, value in bridge.state_dict().items()}
    check_reproduction(bridge, family)
    # The comparison shares the bridge's tensors, and leaves them and their owners as they were.
    after = bridge.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.requires_grad for parameter in bridge.parameters())
    with (
        without_blocks(bridge, 1),
        pytest.raises(ModelError, match="does not compute what the Hugging Face model"),
    ):
        check_reproduction(bridge, family)
    bridge.blocks[0].hook_out.add_hook(lambda tensor, hook: 0.9 * tensor)
    check_reproduction(bridge, family)  # what its owner has changed is as it should be


def test_a_bridge_that_does_not_run_is_refused(tmp_path: Path) -> None:
    # As transformer_lens 3.9 over CodeGen, where transformers 5.24 has moved the angles.
    bridge = build("gpt2", tmp_path)

    def without_angles(module: Any, args: Any) -> None:
        raise AttributeError("no attribute 'embed_positions'")

    handle = bridge.blocks[0].register_forward_pre_hook(without_angles)
    sae = random_sae("jumprelu", d_in=bridge.cfg.d_model)
    with pytest.raises(ModelError, match=r"does not run.*AttributeError: no .*another version"):
        splice(bridge, {"blocks.0.hook_resid_post": sae})
    handle.remove()
