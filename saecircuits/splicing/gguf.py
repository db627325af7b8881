"""Models in GGUF files (llama.cpp's format): converted once, then loaded like any folder.

transformers reads the families that it knows, and unpacks quantised weights to plain numbers. That
takes a minute or more, so the result is kept in the user's cache, under the file's SHA-256. The
converted model counts as quantised, which refuses to be saved; so its weights are put into a model
built anew from the same configuration without that mark.
"""

import os
import shutil
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import torch

from saecircuits.errors import MissingExtraError, ModelError
from saecircuits.splicing.booting import refused
from saecircuits.splicing.manifests import sha256_of

SUFFIX: Final = ".gguf"
_MAGIC: Final = b"GGUF"
# What a converted folder has to hold; it is renamed to its place when all of it is there.
_WHOLE: Final = ("config.json", "tokenizer_config.json")


def is_gguf(name: str | Path) -> bool:
    """Whether a name is that of a GGUF file."""
    return str(name).endswith(SUFFIX)


def converted(file: str | Path) -> Path:
    """The folder, in Hugging Face's format and float32, of the model in a GGUF file.

    Raises:
        MissingExtraError: the package `gguf` is not installed.
        ModelError: no such file, no GGUF file, or a family that transformers does not read.
    """
    path = Path(file).resolve()
    _check_is_gguf(path)
    if find_spec("gguf") is None:
        raise MissingExtraError("a model in a GGUF file", "gguf", "gguf")
    place = _cache() / sha256_of(path)
    if all((place / name).is_file() for name in _WHOLE):
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    made = Path(mkdtemp(prefix=".converting-", dir=place.parent))
    try:
        with refused(
            f"the model in {path.name} cannot be converted",
            "; transformers reads the GGUF files of Llama, Mistral, Qwen, Gemma and some others",
        ):
            _convert(path, made)
        try:
            made.rename(place)
        except OSError:
            # Another process was faster: what it made is the same.
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return place


def _check_is_gguf(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror or error}; give a GGUF file"
        ) from None
    if magic != _MAGIC:
        raise ModelError(f"{path} is no GGUF file: it begins with {magic!r}, not {_MAGIC!r}")


def _cache() -> Path:
    """Where converted models are kept: `SAECIRCUITS_CACHE`, or the system's place for caches."""
    given = os.environ.get("SAECIRCUITS_CACHE")
    if given:
        return Path(given) / "gguf"
    from platformdirs import user_cache_path

    return user_cache_path("saecircuits") / "gguf"


def _convert(path: Path, folder: Path) -> None:
    import transformers

    settings: dict[str, Any] = {"gguf_file": path.name, "dtype": torch.float32}
    if hasattr(transformers, "GgufConfig"):
        # Otherwise weights may stay in blocks, where there are kernels for them.
        settings["quantization_config"] = transformers.GgufConfig(dequantize=True)
    read = transformers.AutoModelForCausalLM.from_pretrained(path.parent, **settings)
    config = deepcopy(read.config)
    vars(config).pop("quantization_config", None)
    with torch.device("meta"):
        plain = type(read)(config)
    plain.load_state_dict(read.state_dict(), strict=True, assign=True)
    plain.tie_weights()
    plain.save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer.save_pretrained(folder)
