"""The models that come with the package: in `pretrained/` beside a checkout, or as a package."""

from importlib.util import find_spec
from pathlib import Path

from saecircuits.errors import ModelError
from saecircuits.splicing import manifests

# Beside the package in a checkout; elsewhere in a package of their own.
_BESIDE = Path(__file__).resolve().parents[2] / "pretrained"
_PACKAGE = "saecircuits_models"


def model_names() -> tuple[str, ...]:
    """The names of the shipped models; none where they are not installed."""
    return tuple(sorted(shipped_folders()))


def shipped_folders() -> dict[str, Path]:
    """Where the shipped models lie, by name."""
    # A checkout's folder says that it is the package; another `pretrained` may lie there.
    roots = [_BESIDE] if (_BESIDE / _PACKAGE).is_dir() else []
    package = find_spec(_PACKAGE)
    if package is not None:
        roots += map(Path, package.submodule_search_locations or ())
    for root in roots:
        if found := {path.parent.name: path.parent for path in root.glob(f"*/{manifests.NAME}")}:
            return found
    return {}


def not_shipped(what: str) -> ModelError:
    """What to answer to who asks for a shipped model where none are installed."""
    return ModelError(
        f"{what}: no models are shipped with this installation; in a checkout of saecircuits, "
        f"`pip install ./pretrained` brings them (saecircuits-models), and a checkout installed by "
        "`pip install -e .` has them"
    )
