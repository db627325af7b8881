"""Models in GGUF files: converted once, and the model that was written."""

import shutil
from pathlib import Path

import gguf
import pytest
import torch
from transformers import LlamaForCausalLM
from transformers import modeling_gguf_pytorch_utils as their_reader

from saecircuits.errors import InputError, MissingExtraError, ModelError
from saecircuits.splicing import gguf as reading
from saecircuits.splicing.gguf import converted
from saecircuits.splicing.loading import load_model
from tests.gguf_file import small_llama, write_gguf
from tests.hub_cache import small_sae


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAECIRCUITS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


@pytest.fixture
def saes(tmp_path: Path) -> Path:
    hook = "blocks.0.hook_resid_post"
    small_sae(hook, seed=1, model="llama").save_model(tmp_path / "saes")
    return tmp_path / "saes"


def test_the_model_of_the_file_is_loaded_and_converted_once(
    tmp_path: Path, saes: Path, cache: Path
) -> None:
    written = small_llama()
    write_gguf(tmp_path / "small.gguf", written)
    model = load_model(tmp_path / "small.gguf", dictionaries=saes)
    assert model.name == "small"
    tokens = torch.arange(1, 8)[None]
    with torch.no_grad():
        torch.testing.assert_close(model.forward(tokens), written(tokens).logits)
    (place,) = cache.iterdir()  # and nothing half-made beside it
    made = (place / "model.safetensors").stat().st_mtime_ns
    again = load_model(tmp_path / "small.gguf", dictionaries=saes)
    assert again.describe()["model_digest"] == model.describe()["model_digest"]
    assert (place / "model.safetensors").stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no GGUF file"),
        (b"PK\x03\x04", "is no GGUF file: it begins with"),
        (b"GGUF" + bytes(20), "cannot be converted"),
    ],
)
def test_what_is_no_gguf_file_is_refused(
    tmp_path: Path, saes: Path, cache: Path, content: bytes, message: str
) -> None:
    (tmp_path / "broken.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "broken.gguf", dictionaries=saes)
    assert not cache.is_dir() or not list(cache.iterdir())


def test_a_truncated_file_leaves_nothing_behind(tmp_path: Path, saes: Path, cache: Path) -> None:
    write_gguf(tmp_path / "small.gguf", small_llama())
    whole = (tmp_path / "small.gguf").read_bytes()
    (tmp_path / "small.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"small.gguf cannot be converted"):
        load_model(tmp_path / "small.gguf", dictionaries=saes)
    assert not list(cache.iterdir())


def test_a_file_that_is_not_there(tmp_path: Path, saes: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        load_model(tmp_path / "none.gguf", dictionaries=saes)


def test_without_dictionaries_nothing_is_converted(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match="is a model without dictionaries"):
        load_model(tmp_path / "small.gguf")
    assert not cache.is_dir()


def test_the_package_is_named_where_it_is_missing(
    tmp_path: Path, saes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(reading, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'saecircuits\[gguf\]'"):
        load_model(tmp_path / "small.gguf", dictionaries=saes)


def test_progress_goes_up_to_the_whole(tmp_path: Path) -> None:
    write_gguf(tmp_path / "small.gguf", small_llama())
    told: list[tuple[str, float]] = []
    converted(tmp_path / "small.gguf", lambda *stage: told.append(stage))
    assert {stage for stage, _ in told} == {"converting"}
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[0] == 0.0 and shares[-1] == 1.0
    assert len(shares) > 20  # one for each tensor among them
    told.clear()
    converted(tmp_path / "small.gguf", lambda *stage: told.append(stage))
    assert told == []


def test_the_header_is_read_once_and_the_reader_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tmp_path / "small.gguf", small_llama())
    read: list[Path] = []

    class Counted(gguf.GGUFReader):
        def __init__(self, path: Path) -> None:
            read.append(path)
            super().__init__(path)

    monkeypatch.setattr(gguf, "GGUFReader", Counted)
    theirs = vars(their_reader)["tqdm"]
    converted(tmp_path / "small.gguf")
    assert len(read) == 1
    assert gguf.GGUFReader is Counted and vars(their_reader)["tqdm"] is theirs


def test_a_disk_without_room_is_refused_before_anything_is_unpacked(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_llama()
    write_gguf(tmp_path / "small.gguf", model)
    usage = shutil.disk_usage(tmp_path)
    needed = 4 * sum(value.numel() for value in model.state_dict().values())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed - 1))
    with pytest.raises(ModelError, match=r"GB left, and 0.00 GB are needed; make room, or set SAE"):
        converted(tmp_path / "small.gguf")
    assert not list(cache.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    assert converted(tmp_path / "small.gguf").is_dir()


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_stops_while_it_writes_leaves_nothing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    write_gguf(tmp_path / "small.gguf", small_llama())

    def stop(self: LlamaForCausalLM, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half of it")
        raise failure

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", stop)
    with pytest.raises((ModelError, KeyboardInterrupt)) as caught:
        converted(tmp_path / "small.gguf")
    if isinstance(failure, OSError):
        assert "cannot be written to the cache (OSError: " in str(caught.value)
        assert "No space left on device); SAECIRCUITS_CACHE names another" in str(caught.value)
    assert not list(cache.iterdir())
