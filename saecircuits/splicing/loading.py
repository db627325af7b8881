"""Models by name: shipped with the package, in a folder, or from a hub with an SAE release.

A model folder holds `manifest.json`, `model/` (Hugging Face format with its tokenizer), and
dictionaries in sae_lens's format. The manifest names each dictionary's hook, the sites spliced by
default, and the SHA-256 of every file, which is checked before anything is loaded.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from saecircuits.errors import DictionaryError, ModelError, UnknownNameError
from saecircuits.splicing.building import splice
from saecircuits.splicing.checkpoints import WholeCheckpoint
from saecircuits.splicing.model import SplicedModel

MANIFEST = "manifest.json"
_PACKAGE = Path(__file__).resolve().parent.parent
# In an installed wheel the models lie inside the package; in a checkout beside it.
_SHIPPED = (_PACKAGE / "pretrained", _PACKAGE.parent / "pretrained")


def model_names() -> tuple[str, ...]:
    """The names of the shipped models."""
    return tuple(sorted(folder.name for folder in _shipped_folders()))


def read_manifest(name_or_folder: str | Path) -> dict[str, Any]:
    """The manifest of a shipped model or of a model folder.

    Raises:
        UnknownNameError: no shipped model has that name, and it is no folder.
        ModelError: the folder has no readable manifest.
    """
    folder = model_folder(name_or_folder)
    path = folder / MANIFEST
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} holds no {MANIFEST}; give a folder with a manifest, or build the model with "
            "transformer_lens and use splice()"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}") from None


def load_model(
    name_or_folder: str | Path = "stories",
    *,
    sites: str | Sequence[str] | None = None,
    release: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> SplicedModel:
    """A spliced model: shipped (by name), from a folder, or from a hub with an SAE release.

    Args:
        name_or_folder: `stories`, a folder with a manifest, or, with `release`, the name of any
            model that transformer_lens's bridge loads.
        sites: hook names of SAEs to splice, or one kind (`resid_post`, `attn_out`, `mlp_out`,
            `transcoder`, ...) for every dictionary of that kind; by default the manifest's
            default sites, or the release's `hook_resid_post` entries.
        release: a release of sae_lens's registry (downloaded unless cached).
        dtype: of model and dictionaries.
        device: where both are put.

    Raises:
        UnknownNameError: no such model, release or site.
        ModelError: files that are missing or not what the manifest says; a hub out of reach; a
            checkpoint that lacks weights; a bridge that does not compute what the model computes.
        DictionaryError: a dictionary made for another model, or of another width.
    """
    if release is not None:
        return _from_release(str(name_or_folder), release, sites=sites, dtype=dtype, device=device)
    folder = model_folder(name_or_folder)
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    dictionaries = {
        entry["writes"]: _load_dictionary(folder / entry["path"], manifest["name"])
        for entry in _entries(manifest, sites)
    }
    bridge = _boot(str(folder / "model"), dtype=dtype, device=device)
    return splice(bridge, dictionaries, name=manifest["name"], is_copied=False)


def random_bridge(config: Any, tokenizer: Any) -> Any:
    """A bridge over a model with random weights, float32 on the CPU; nothing is downloaded.

    Args:
        config: of Hugging Face; its initialisation is the model's, drawn by torch's generator.
        tokenizer: of Hugging Face.
    """
    import transformers

    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model.config.architectures = [type(model).__name__]
    with TemporaryDirectory() as folder:
        # The bridge reads settings and tokenizer from a folder, though the model is there.
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return _boot(folder, dtype=torch.float32, device="cpu", hf_model=model.eval())


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compares every file of a model folder with its manifest.

    Raises:
        ModelError: a file that is missing or differs, by name.
    """
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{folder} lacks {name}, which its manifest lists; fetch it again")
        found = _sha256(path)
        if found != expected:
            raise ModelError(
                f"{path} has SHA-256 {found[:12]}..., but the manifest says {expected[:12]}...; "
                "fetch the folder again, or write its manifest anew"
            )


def _sha256(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            sha.update(part)
    return sha.hexdigest()


def _shipped_folders() -> list[Path]:
    for root in _SHIPPED:
        if root.is_dir():
            return [path.parent for path in root.glob(f"*/{MANIFEST}")]
    return []


def model_folder(name_or_folder: str | Path) -> Path:
    """Where a shipped model lies, or the folder itself, made absolute.

    Raises:
        UnknownNameError: no shipped model has that name, and it is no folder.
    """
    by_name = {folder.name: folder for folder in _shipped_folders()}
    if str(name_or_folder) in by_name:
        return by_name[str(name_or_folder)]
    # Absolute, because transformer_lens takes a relative "gpt2" for the hub's model.
    folder = Path(name_or_folder).resolve()
    if not folder.is_dir():
        raise UnknownNameError("model", str(name_or_folder), by_name)
    return folder


def _entries(
    manifest: Mapping[str, Any], sites: str | Sequence[str] | None
) -> list[dict[str, Any]]:
    """The manifest's dictionaries at the wanted sites, each with the hook that it writes."""
    entries = [
        {**entry, "writes": entry.get("hook_name_out") or entry["hook_name"]}
        for entry in manifest["dictionaries"]
    ]
    if sites == "transcoder":
        return [entry for entry in entries if entry["kind"] == "transcoder"]
    saes = {entry["writes"]: entry for entry in entries if entry["kind"] == "sae"}
    if isinstance(sites, str):
        chosen = [entry for hook, entry in saes.items() if hook.endswith(f"hook_{sites}")]
        if not chosen:
            kinds = {hook.rpartition("hook_")[2] for hook in saes}
            raise UnknownNameError("kind of site", sites, {*kinds, "transcoder"})
        return chosen
    for site in sites or ():
        if site not in saes:
            raise UnknownNameError("site with a dictionary", site, saes)
    return [saes[site] for site in (manifest["default_sites"] if sites is None else sites)]


def _load_dictionary(folder: Path, model_name: str) -> Any:
    from sae_lens import SAE

    try:
        sae = SAE.load_from_disk(folder, device="cpu")
    except Exception as error:
        # sae_lens reports a broken folder in many ways; to the caller they are one.
        raise DictionaryError(
            f"{folder} cannot be read as a sae_lens dictionary ({type(error).__name__}: "
            f"{' '.join(str(error).split())})"
        ) from error
    made_for = sae.cfg.metadata.model_name
    if made_for is not None and made_for != model_name:
        raise DictionaryError(
            f"{folder} was trained for model {made_for!r}, but the manifest's model is "
            f"{model_name!r}; use dictionaries trained on this model"
        )
    return sae


def _boot(name: str, *, dtype: torch.dtype, device: str, **given: Any) -> Any:
    if "hf_model" not in given:
        given["model_class"] = WholeCheckpoint()
    with _quiet():
        from transformer_lens.model_bridge import TransformerBridge

        try:
            return TransformerBridge.boot_transformers(name, device=device, dtype=dtype, **given)
        except (OSError, ValueError) as error:
            first_line = str(error).strip().splitlines()[0] if str(error).strip() else "no reason"
            raise ModelError(
                f"model {name!r} cannot be loaded ({type(error).__name__}: {first_line}); give a "
                "shipped name, an absolute folder, or a hub model that is cached or in reach"
            ) from error


def _from_release(
    name: str,
    release: str,
    *,
    sites: str | Sequence[str] | None,
    dtype: torch.dtype,
    device: str,
) -> SplicedModel:
    """A hub model with the dictionaries of a release in sae_lens's registry."""
    with _quiet():
        from sae_lens import SAE
        from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
    directory = get_pretrained_saes_directory()
    if release not in directory:
        raise UnknownNameError("SAE release", release, directory)
    known = directory[release].saes_map
    wanted = sites if sites is not None else [s for s in known if s.endswith("hook_resid_post")]
    if isinstance(wanted, str):
        wanted = [site for site in known if site.endswith(f"hook_{wanted}")]
    dictionaries = {}
    for site in wanted or known:
        if site not in known:
            raise UnknownNameError(f"SAE of release {release!r}", site, known)
        try:
            sae = SAE.from_pretrained(release, site, device="cpu")
        except OSError as error:
            raise ModelError(
                f"{site!r} of release {release!r} is not cached and cannot be fetched "
                f"({type(error).__name__}); connect once, or use a shipped model"
            ) from error
        hook = sae.cfg.metadata.hook_name_out or sae.cfg.metadata.hook_name
        dictionaries[hook] = sae
    bridge = _boot(name, dtype=dtype, device=device)
    return splice(bridge, dictionaries, name=name, provenance={"release": release}, is_copied=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Loading bars of the libraries below off, for the time of loading only."""
    import transformers

    had_bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if had_bars:
            transformers.utils.logging.enable_progress_bar()
