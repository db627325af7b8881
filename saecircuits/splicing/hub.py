"""Repositories of the Hugging Face hub: which commit is at hand, and what of one is fetched."""

from pathlib import Path
from typing import Final

from saecircuits.errors import ModelError
from saecircuits.splicing.releases import unreachable_refused

# Settings of dictionaries: a few lines each, fetched to know what a repository has.
_SETTINGS: Final = ("*.json", "*.yaml", "*.yml")


def is_repository(name: str) -> bool:
    """Whether a name has the form of a repository's: `owner/name`."""
    owner, _, rest = name.partition("/")
    return bool(owner) and bool(rest) and "/" not in rest and not owner.startswith((".", "~"))


def fetched_settings(repository: str) -> Path:
    """The folder of a repository's present commit, with its settings and none of its weights.

    Raises:
        ModelError: neither cached nor in reach, or no such repository.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    with unreachable_refused(f"the repository {repository!r}"):
        try:
            return Path(snapshot_download(repository, allow_patterns=list(_SETTINGS)))
        except (HfHubHTTPError, HFValidationError) as error:
            reason = (str(error).strip() or "no reason").splitlines()[0]
            raise ModelError(
                f"the repository {repository!r} cannot be read ({type(error).__name__}: {reason}); "
                "give a release of sae_lens's registry, a folder, or owner/name of a hub"
            ) from error


def revision_of(repository: str) -> str | None:
    """The commit of a repository that is cached as its present one; None if none is."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    place = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    try:
        return (place / "refs" / "main").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
