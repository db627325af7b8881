"""Repositories of the Hugging Face hub: what one has, which commit is at hand, what is fetched.

What a repository has is told by the names of its files; of a dictionary that is asked for its own
files are fetched and those of settings, and nothing else. Without a network both come from the
cache.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from saecircuits.errors import ModelError, SaecircuitsError
from saecircuits.splicing.cross_layer_folder import ENCODER
from saecircuits.splicing.folders import WEIGHTS_ALONE, WEIGHTS_TOGETHER

# Files of settings of a whole repository: a few lines each.
_SETTINGS: Final = ("*.json", "*.yaml", "*.yml")


def is_repository(name: str) -> bool:
    """Whether a name has the form of a repository's: `owner/name`."""
    owner, _, rest = name.partition("/")
    return bool(owner) and bool(rest) and "/" not in rest and not owner.startswith((".", "~"))


def dictionaries_in(repository: str) -> tuple[tuple[str, ...], bool]:
    """Paths of the folders and files that dictionaries are in, and whether it is a cross-layer one.

    Raises:
        ModelError: neither cached nor in reach, or no such repository.
    """
    found: dict[str, None] = {}
    is_cross_layer = False
    for name in sorted(_files_of(repository)):
        path = PurePosixPath(name)
        if path.name in WEIGHTS_ALONE:
            found[path.parent.as_posix()] = None
        elif WEIGHTS_TOGETHER.fullmatch(path.name):
            found[name] = None
        is_cross_layer |= ENCODER.fullmatch(path.name) is not None
    return tuple(found), is_cross_layer


def fetched(repository: str, path: str = ".") -> Path:
    """Where a folder or file of a repository lies once it is fetched, beside all settings.

    Raises:
        ModelError: neither cached nor in reach.
    """
    from huggingface_hub import snapshot_download

    own = ["*"] if path == "." else [path, f"{path}/*"]
    with _unreachable_refused(f"{path!r} of the repository {repository!r}"):
        folder = Path(snapshot_download(repository, allow_patterns=[*_SETTINGS, *own]))
    place = folder / path
    if not place.exists():
        raise ModelError(
            f"{path!r} of the repository {repository!r} is not cached and cannot be fetched; "
            "connect once"
        )
    return place


def revision_of(repository: str) -> str | None:
    """The commit of a repository that is cached as its present one; None if none is."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    place = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    try:
        return (place / "refs" / "main").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _files_of(repository: str) -> list[str]:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    with _unreachable_refused(f"the repository {repository!r}"):
        try:
            return HfApi().list_repo_files(repository)
        except (HfHubHTTPError, HFValidationError):
            raise  # the hub has answered
        except Exception:
            # Without a network its client fails by classes of whatever library it speaks HTTP with.
            folder = Path(snapshot_download(repository, local_files_only=True))
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


@contextmanager
def _unreachable_refused(what: str) -> Iterator[None]:
    try:
        yield
    except SaecircuitsError:
        raise
    except Exception as error:
        reason = (str(error).strip() or "no reason").splitlines()[0]
        raise ModelError(
            f"{what} is not cached and cannot be fetched ({type(error).__name__}: {reason}); "
            "connect once, or give a release of sae_lens's registry or a folder"
        ) from error
