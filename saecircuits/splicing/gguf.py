"""Models in GGUF files (llama.cpp's format): converted once, then loaded like any folder.

transformers reads the families that it knows, and unpacks quantised weights to plain numbers. That
takes a while, so the result is kept in the user's cache (`splicing.kept`), under the file's
SHA-256. The converted model counts as quantised, which refuses to be saved; so its weights are put
into a model built anew from the same configuration without that mark.
"""

from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch

from saecircuits.errors import MissingExtraError, ModelError
from saecircuits.progress import Progress, shown_progress
from saecircuits.splicing.booting import quiet, refused
from saecircuits.splicing.gguf_reading import header_read_once
from saecircuits.splicing.kept import cache, check_room, is_whole, kept
from saecircuits.splicing.manifests import sha256_of

SUFFIX: Final = ".gguf"
_MAGIC: Final = b"GGUF"
_STAGE: Final = "converting"
# Shares of the time that are over, of SmolLM2-135M with its 49,152 words.
_HEADER, _TENSORS, _WORDS = 0.65, 0.8, 0.95


def is_gguf(name: str | Path) -> bool:
    """Whether a name is that of a GGUF file."""
    return str(name).endswith(SUFFIX)


def conversion_of(sha256: str) -> Path:
    """Where the conversion of the GGUF file with this SHA-256 is kept, once it is made."""
    return cache("gguf") / sha256


def is_converted(sha256: str) -> bool:
    """Whether the GGUF file with this SHA-256 was converted, and the conversion is unchanged."""
    return is_whole(conversion_of(sha256))


def converted(file: str | Path, progress: Progress | None = None) -> Path:
    """The folder, in Hugging Face's format and float32, of the model in a GGUF file.

    Args:
        progress: called with a stage's name and the share done, where there is something to do; a
            bar on the terminal if None.

    Raises:
        MissingExtraError: the package `gguf` is not installed.
        ModelError: no such file, no GGUF file, or a family that transformers does not read; a
            cache that cannot be written, or has no room for the model.
    """
    path = Path(file).resolve()
    _check_is_gguf(path)
    return kept(conversion_of(sha256_of(path)), partial(_convert, path, progress))


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


def _convert(path: Path, progress: Progress | None, folder: Path) -> None:
    if find_spec("gguf") is None:
        raise MissingExtraError("a model in a GGUF file", "gguf", "gguf")
    with ExitStack() as stack:
        tell = partial(
            stack.enter_context(shown_progress()) if progress is None else progress, _STAGE
        )
        tell(0.0)
        stack.enter_context(quiet())
        stack.enter_context(
            header_read_once(lambda share: tell(_HEADER + share * (_TENSORS - _HEADER)))
        )
        with refused(
            f"the model in {path.name} cannot be converted",
            "; transformers reads the GGUF files of Llama, Mistral, Qwen, Gemma and some others",
        ):
            import gguf

            numbers = sum(int(one.n_elements) for one in gguf.GGUFReader(str(path)).tensors)
            check_room(folder, numbers * torch.float32.itemsize)
            model = _model_in(path)
            tell(_TENSORS)
            tokenizer = _tokenizer_in(path)
        tell(_WORDS)
        with refused(
            f"the model in {path.name} cannot be written to the cache",
            "; SAECIRCUITS_CACHE names another place for it",
        ):
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        tell(1.0)


def _model_in(path: Path) -> Any:
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
    return plain


def _tokenizer_in(path: Path) -> Any:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
