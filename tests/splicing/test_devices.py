"""Devices and dtypes by name: what is taken, what is refused, and when."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import saecircuits as sc
from saecircuits.splicing import devices
from saecircuits.splicing.devices import devices_here, read_device, read_dtype, read_place


def pretend_here(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(devices, "devices_here", lambda: ("cpu", *names))


def test_devices_of_this_machine_are_those_of_torch() -> None:
    kinds = [name.split(":")[0] for name in devices_here()]
    assert kinds[0] == "cpu"
    assert kinds.count("cuda") == torch.cuda.device_count()
    for name in devices_here():
        assert torch.zeros(1, device=read_device(name)).device.type == name.split(":")[0]


@pytest.mark.parametrize(
    "asked", ["gpu", "", "cuda:", "cuda:-1", "cuda0", "CPU", " cpu", "0", "cpu,"]
)
def test_what_names_no_device_is_refused(asked: str) -> None:
    with pytest.raises(sc.InputError, match="names no device; here are cpu"):
        read_device(asked)


@pytest.mark.parametrize(
    "asked", ["cuda:7", "mps", "xpu", "meta", "hpu:0", torch.device("cuda", 9)]
)
def test_a_device_that_is_not_there_is_refused(
    asked: str | torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_here(monkeypatch, "cuda:0", "cuda:1")
    with pytest.raises(
        sc.InputError, match=re.escape("is not on this machine; here are cpu, cuda:0, cuda:1")
    ):
        read_device(asked)


def test_a_device_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_here(monkeypatch, "cuda:0", "cuda:1")
    for asked in ("cuda", "cuda:0", "cuda:1", torch.device("cuda:1")):
        assert read_device(asked) == torch.device(asked)
    assert read_device("cpu:0") == torch.device("cpu")


def test_dtypes_go_by_name_or_are_torchs() -> None:
    for name in ("float64", "float32", "bfloat16", "float16"):
        assert read_dtype(name) is getattr(torch, name)
        assert read_dtype(getattr(torch, name)) is getattr(torch, name)
        assert read_dtype(f"torch.{name}") is getattr(torch, name)


@pytest.mark.parametrize(
    "asked", ["float8", "half", "int64", "fp16", "", torch.int64, torch.complex64]
)
def test_other_dtypes_are_refused(asked: str | torch.dtype) -> None:
    with pytest.raises(sc.InputError, match=r"unknown dtype.*bfloat16, float16, float32, float64"):
        read_dtype(asked)


def test_mps_has_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_here(monkeypatch, "mps:0")
    assert read_place("mps", "float32") == (torch.device("mps"), torch.float32)
    with pytest.raises(sc.InputError, match="'mps' has no float64; use dtype float32"):
        read_place("mps", torch.float64)


@pytest.mark.parametrize("place", [{"device": "cuda:99"}, {"dtype": "float8"}])
def test_both_are_checked_before_a_file_is_read(place: dict[str, Any], tmp_path: Path) -> None:
    # The folder holds no model; that is not what is said.
    with pytest.raises(sc.InputError, match=r"is not on this machine|unknown dtype"):
        sc.load_model(tmp_path, **place)
    with pytest.raises(sc.InputError, match=r"is not on this machine|unknown dtype"):
        sc.load_model("gpt2", dictionaries="no such release", **place)


def test_a_model_is_loaded_where_and_as_asked(model_folder: Path) -> None:
    for dtype in ("bfloat16", torch.bfloat16):
        model = sc.load_model(model_folder, device=torch.device("cpu"), dtype=dtype)
        kinds = {one.dictionary.W_dec.dtype for one in model.splices}
        # What dictionaries read, and their features, are computed in float32 whatever the model is.
        assert (model.dtype, kinds) == (torch.bfloat16, {torch.float32})
        assert model.describe()["dtype"] == "bfloat16"
