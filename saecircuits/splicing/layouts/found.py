"""What is found in folders: dictionaries that can be loaded, and what cannot be read and why."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from safetensors import safe_open

from saecircuits.errors import DictionaryError, SaecircuitsError
from saecircuits.splicing.dictionary import Dictionary

# Settings are a few lines; what is larger is something else.
_MOST_BYTES: Final = 2**24


@dataclass(frozen=True)
class Declared:
    """What a dictionary's files say of its training; None where they do not say.

    Attributes:
        model: the model that it was trained on, as its trainer called it.
        prepend_bos: whether prompts began with BOS.
        excludes_special_tokens: whether tokens such as BOS were left out, or which.
        context_size: the longest prompt, in tokens.
        normalisation: what was done to activations before they were encoded, in sae_lens's words.
        hf_reads: the tensor read, in the words of Hugging Face's model.
    """

    model: str | None = None
    prepend_bos: bool | None = None
    excludes_special_tokens: bool | tuple[int, ...] | None = None
    context_size: int | None = None
    normalisation: str = "none"
    hf_reads: str | None = None


@dataclass(frozen=True, eq=False)
class FoundDictionary:
    """A dictionary in a folder, its weights not loaded yet.

    Attributes:
        path: the folder that it lies in, or its own file where several lie in one folder.
        layout: whose folder it is, such as `sae_lens`.
        reads: the hook point that it reads.
        writes: the hook point that it reconstructs; `reads` itself but for a transcoder.
        kind: as its trainer calls it, such as `jumprelu`.
        d_sae: number of features.
        reader: loads it, as its file has it.
    """

    path: Path
    layout: str
    reads: str
    writes: str
    kind: str
    d_sae: int
    declared: Declared
    reader: Callable[[], Dictionary] = field(repr=False)

    def load(self, dtype: torch.dtype | None = None) -> Dictionary:
        """The dictionary on the CPU, as a model in this dtype has it; by default as its file does.

        Raises:
            DictionaryError: files that are broken or incomplete, or weights that no formula of
                this package is for.
        """
        try:
            found = self.reader()
        except SaecircuitsError:
            raise
        except Exception as error:
            # Broken files are reported in many ways; to the caller they are one.
            reason = " ".join(str(error).split()) or "no reason"
            raise DictionaryError(
                f"{self.path} cannot be read as a {self.layout} dictionary "
                f"({type(error).__name__}: {reason}); fetch it again"
            ) from error
        said = self.declared
        found = replace(
            found,
            prepend_bos=said.prepend_bos,
            exclude_special_tokens=said.excludes_special_tokens,
        )
        return found if dtype is None else found.to(torch.empty(0, dtype=dtype, device="cpu"))


@dataclass(frozen=True)
class Unread:
    """Something in a folder that holds weights, but no dictionary that can be used.

    Attributes:
        layout: whose folder it is, as far as that is known.
        reason: why it cannot be read, or what it is.
        at: the dictionary, given the hook points that it reads and writes; None unless these are
            all that is missing.
    """

    path: Path
    layout: str
    reason: str
    at: Callable[[str, str], FoundDictionary] | None = field(default=None, repr=False)

    @classmethod
    def without_a_place(
        cls,
        path: Path,
        layout: str,
        reason: str,
        at: Callable[[str, str], FoundDictionary],
        *,
        layer: int | str = "LAYER",
    ) -> "Unread":
        """A dictionary that does not say what it is of, and how to say it.

        Args:
            reason: what was looked for.
            layer: the block, if that is known.
        """
        word = f"{path.name}@blocks.{layer}.hook_resid_post"
        said = f"{reason}; if you know, write it behind the folder: {word}"
        return cls(path, layout, said, at)


Item: TypeAlias = FoundDictionary | Unread
# (folder, names of its files) -> what is there of one layout, and the files that belong to it.
Layout: TypeAlias = Callable[[Path, frozenset[str]], tuple[list[Item], frozenset[str]]]
NOTHING: Final[tuple[list[Item], frozenset[str]]] = ([], frozenset())


@dataclass(frozen=True)
class Listing:
    """What is in a folder and the folders in it.

    Attributes:
        dictionaries: by path.
        unread: what has weights and is no dictionary that can be used.
    """

    folder: Path
    dictionaries: tuple[FoundDictionary, ...]
    unread: tuple[Unread, ...]


def of_folder(
    folder: Path,
    layout: str,
    settings: str,
    read: Callable[[Path, Mapping[str, Any]], Item],
) -> list[Item]:
    """The dictionary of a folder with a file of settings, or why it cannot be used."""
    try:
        return [read(folder, read_json(folder / settings))]
    except DictionaryError as error:
        return [Unread(folder, layout, str(error))]


def read_json(path: Path) -> dict[str, Any]:
    """The object that a file of settings holds.

    Raises:
        DictionaryError: it is too large, no JSON, or no object.
    """
    return _read(path, "JSON", json.loads)


def read_yaml(path: Path) -> dict[str, Any]:
    """As `read_json`, of YAML: plain values alone."""
    import yaml

    def plain(text: str) -> Any:
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from None

    return _read(path, "YAML", plain)


def _read(path: Path, what: str, parsed: Callable[[str], Any]) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DictionaryError(
                f"{path} has more than {_MOST_BYTES:,} bytes; these are no settings"
            )
        found = parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DictionaryError(f"{path} cannot be read as {what}: {error}") from None
    if not isinstance(found, dict):
        raise DictionaryError(f"{path} holds no object of settings")
    return found


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """The shape of every tensor of a safetensors file, none of which is loaded.

    Raises:
        DictionaryError: it is no such file, or cut short.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        # The library reports broken files by exceptions of its own.
        raise DictionaryError(f"{path} cannot be read as safetensors: {error}") from None


def setting(settings: Mapping[str, Any], name: str, kind: type, where: Path) -> Any:
    """A setting of a kind, None where it is not there.

    Raises:
        DictionaryError: it is of another kind.
    """
    value = settings.get(name)
    is_flag = isinstance(value, bool) and kind is not bool
    if value is not None and (is_flag or not isinstance(value, kind)):
        raise DictionaryError(
            f"{where} has {name}={value!r}; it should be a value of type {kind.__name__}"
        )
    return value


def wanted(settings: Mapping[str, Any], name: str, kind: type, where: Path) -> Any:
    """A setting that has to be there.

    Raises:
        DictionaryError: it is not, or is of another kind.
    """
    value = setting(settings, name, kind, where)
    if value is None:
        raise DictionaryError(f"{where} does not say {name}; fetch the dictionary again")
    return value
