"""Models by name: shipped, in a folder, or from a hub with an SAE release.

Shipped models lie in `pretrained/` beside a checkout, or come as the package `saecircuits-models`.

A model folder holds `manifest.json`, `model/` (Hugging Face format with its tokenizer), and
dictionaries in sae_lens's format. The manifest names each dictionary's hook, the sites spliced by
default, and the SHA-256 of every file, which is checked before anything is loaded.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from saecircuits.errors import (
    DictionaryError,
    ModelError,
    SaecircuitsError,
    UnknownNameError,
    cut,
    public_path,
)
from saecircuits.splicing import manifests
from saecircuits.splicing.building import splice
from saecircuits.splicing.checkpoints import WholeCheckpoint
from saecircuits.splicing.devices import read_place
from saecircuits.splicing.modalities import check_text_alone
from saecircuits.splicing.model import SplicedModel
from saecircuits.torch_state import in_own_state

# Beside the package in a checkout; elsewhere in a package of their own.
_BESIDE = Path(__file__).resolve().parents[2] / "pretrained"
_PACKAGE = "saecircuits_models"


def model_names() -> tuple[str, ...]:
    """The names of the shipped models; none where they are not installed."""
    return tuple(sorted(folder.name for folder in _shipped_folders()))


def not_shipped(what: str) -> ModelError:
    """What to answer to who asks for a shipped model where none are installed."""
    return ModelError(
        f"{what}: no models are shipped with this installation; in a checkout of saecircuits, "
        f"`pip install ./pretrained` brings them (saecircuits-models), and a checkout installed by "
        "`pip install -e .` has them"
    )


def read_manifest(name_or_folder: str | Path) -> dict[str, Any]:
    """The manifest of a shipped model or of a model folder, checked (`splicing.manifests`).

    Raises:
        UnknownNameError: no shipped model has that name, and it is no folder.
        ModelError: the folder has no readable manifest, or one that cannot be used.
    """
    return manifests.read(model_folder(name_or_folder))


@in_own_state
def load_model(
    name_or_folder: str | Path = "stories",
    *,
    sites: str | Sequence[str] | None = None,
    release: str | None = None,
    dtype: str | torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> SplicedModel:
    """A spliced model: shipped (by name), from a folder, or from a hub with an SAE release.

    Args:
        name_or_folder: `stories`, a folder with a manifest, or, with `release`, the name of any
            model that transformer_lens's bridge loads.
        sites: hook names of SAEs to splice, or one kind (`resid_post`, `attn_out`, `mlp_out`,
            `transcoder`, ...) for every dictionary of that kind; by default the manifest's
            default sites, or the release's `hook_resid_post` entries.
        release: a release of sae_lens's registry (downloaded unless cached).
        dtype: of model and dictionaries: float64, float32, bfloat16 or float16, by name or torch's.
        device: where both are put: `cpu`, `cuda`, `cuda:1`, `mps`, ...

    Raises:
        InputError: no such device here, or one without that dtype; seen before anything is read.
        UnknownNameError: no such dtype, model, release or site.
        ModelError: files that are missing or not what the manifest says; a hub out of reach; a
            checkpoint that lacks weights; a bridge that does not compute what the model computes.
        DictionaryError: a dictionary made for another model, or of another width.
    """
    where, kind = read_place(device, dtype)
    if release is not None:
        return _from_release(str(name_or_folder), release, sites=sites, dtype=kind, device=where)
    folder = model_folder(name_or_folder)
    manifest = read_manifest(folder)
    manifests.check_files(folder, manifest)
    dictionaries = {
        entry["writes"]: _load_dictionary(folder / entry["path"], manifest["name"])
        for entry in entries_of(manifest, sites)
    }
    bridge = boot(str(folder / "model"), dtype=kind, device=where)
    provenance = {
        "source": public_path(name_or_folder),
        "sites": sites if sites == "transcoder" else list(dictionaries),
    }
    with _refused(f"the model in {folder} cannot be used"):
        return splice(
            bridge,
            dictionaries,
            name=manifest["name"],
            provenance=provenance,
            is_copied=False,
        )


@in_own_state
def random_bridge(
    config: Any,
    tokenizer: Any,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Any:
    """A bridge over a model with random weights; nothing is downloaded.

    Args:
        config: of Hugging Face; its initialisation is the model's, drawn by torch's generator in
            float32 on the CPU, so that one seed draws the same for every device.
        tokenizer: of Hugging Face.
    """
    where, kind = read_place(device, dtype)
    import transformers

    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model.config.architectures = [type(model).__name__]
    with TemporaryDirectory() as folder:
        # The bridge reads settings and tokenizer from a folder, though the model is there.
        model.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        placed = model.eval().to(device=where, dtype=kind)
        return boot(folder, dtype=kind, device=where, hf_model=placed)


def _shipped_folders() -> list[Path]:
    # A checkout's folder says that it is the package; another `pretrained` may lie there.
    roots = [_BESIDE] if (_BESIDE / _PACKAGE).is_dir() else []
    package = find_spec(_PACKAGE)
    if package is not None:
        roots += map(Path, package.submodule_search_locations or ())
    for root in roots:
        if found := [path.parent for path in root.glob(f"*/{manifests.NAME}")]:
            return found
    return []


def model_folder(name_or_folder: str | Path) -> Path:
    """Where a shipped model lies, or the folder itself, made absolute.

    Raises:
        UnknownNameError: no shipped model has that name, and it is no folder.
        ModelError: the same where no models are shipped; it says how to get them.
    """
    by_name = {folder.name: folder for folder in _shipped_folders()}
    if str(name_or_folder) in by_name:
        return by_name[str(name_or_folder)]
    # Absolute, because transformer_lens takes a relative "gpt2" for the hub's model.
    folder = Path(name_or_folder).resolve()
    if not folder.is_dir():
        if not by_name:
            raise not_shipped(f"{cut(str(name_or_folder), 80)!r} is no folder")
        raise UnknownNameError("model", str(name_or_folder), by_name)
    return folder


def entries_of(
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
    # By name the site of a transcoder is known too, where no SAE has it.
    named = {**{entry["writes"]: entry for entry in entries}, **saes}
    if isinstance(sites, str):
        chosen = [entry for hook, entry in saes.items() if hook.endswith(f"hook_{sites}")]
        if not chosen:
            kinds = {hook.rpartition("hook_")[2] for hook in saes}
            raise UnknownNameError("kind of site", sites, {*kinds, "transcoder"})
        return chosen
    chosen = manifest["default_sites"] if sites is None else sites
    for site in chosen:
        if site not in named:
            raise UnknownNameError("site with a dictionary", site, named)
    return [named[site] for site in chosen]


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


def boot(name: str, *, dtype: torch.dtype, device: torch.device, **given: Any) -> Any:
    """The bridge over the model of a folder or hub name, its checkpoint whole.

    Args:
        given: further arguments of `TransformerBridge.boot_transformers`.

    Raises:
        ModelError: the model cannot be loaded, or reads more than text.
    """
    hint = "; give a shipped name, an absolute folder, or a hub model that is cached or in reach"
    if "hf_model" not in given:
        given["model_class"] = WholeCheckpoint()
    with _quiet(), _refused(f"model {name!r} cannot be loaded", hint):
        if "hf_model" not in given:
            check_text_alone(name)
        from transformer_lens.model_bridge import TransformerBridge

        return TransformerBridge.boot_transformers(name, device=device, dtype=dtype, **given)


@contextmanager
def _refused(
    what: str, hint: str = "; its files are broken or do not fit together"
) -> Iterator[None]:
    """Any failure inside as a ModelError: libraries report broken files in every way there is."""
    try:
        yield
    except SaecircuitsError:
        raise
    except Exception as error:
        reason = (str(error).strip() or "no reason").splitlines()[0]
        raise ModelError(f"{what} ({type(error).__name__}: {reason}){hint}") from error


def _from_release(
    name: str,
    release: str,
    *,
    sites: str | Sequence[str] | None,
    dtype: torch.dtype,
    device: torch.device,
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
    chosen = wanted or list(known)
    for site in chosen:
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
    bridge = boot(name, dtype=dtype, device=device)
    provenance = {"source": public_path(name), "release": release, "sites": list(chosen)}
    return splice(bridge, dictionaries, name=name, provenance=provenance, is_copied=False)


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
