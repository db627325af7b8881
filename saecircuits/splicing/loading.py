"""Models by name: shipped, from a folder or a file, or from a hub, with dictionaries from anywhere.

Two words say what is loaded: the model (a shipped name, one of a package, a folder, a GGUF file, or
a hub's name), and its dictionaries (`splicing.dictionary_sources`). Shipped models, and folders
with a manifest, bring dictionaries of their own: such a folder holds `manifest.json`, `model/`
(Hugging Face format with its tokenizer), and dictionaries in sae_lens's format. The manifest names
each dictionary's hook, the sites spliced by default, and the SHA-256 of every file, which is
checked before anything is loaded. In place of `model/` it may name a model of a package
(`packaged`), whose own SHA-256 is checked too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from saecircuits.errors import (
    DictionaryError,
    InputError,
    ModelError,
    UnknownNameError,
    cut,
    public_path,
)
from saecircuits.progress import Progress
from saecircuits.splicing import manifests
from saecircuits.splicing.booting import boot, refused
from saecircuits.splicing.building import splice
from saecircuits.splicing.cross_layer import CrossLayerTranscoder
from saecircuits.splicing.declared import made_for_another, official_name
from saecircuits.splicing.devices import read_place
from saecircuits.splicing.dictionary import Dictionary
from saecircuits.splicing.dictionary_sources import (
    Brought,
    asked_for,
    brought,
    public_name,
    revisions_of,
)
from saecircuits.splicing.folders import dictionary_at
from saecircuits.splicing.gguf import converted, is_gguf
from saecircuits.splicing.layouts.sae_lens import is_sae_lens_folder, load_sae
from saecircuits.splicing.model import SplicedModel
from saecircuits.splicing.packaged import PACKAGED, packaged_folder
from saecircuits.splicing.releases import releases_for
from saecircuits.splicing.shipped import not_shipped, shipped_folders
from saecircuits.splicing.sites import is_same_tensor
from saecircuits.torch_state import in_own_state

_CONFIG: Final = "config.json"
_NAMED: Final = 6


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
    dictionaries: str | Path | Sequence[str | Path] | None = None,
    sites: str | Sequence[str] | None = None,
    dtype: str | torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    insist: bool = False,
    progress: Progress | None = None,
) -> SplicedModel:
    """A spliced model: shipped (by name), from a folder or GGUF file, or from a hub.

    Args:
        name_or_folder: `stories`, `smollm2`; a folder with a manifest; or, with `dictionaries`, a
            folder in Hugging Face's format, a GGUF file, or the name of any hub model that
            transformer_lens's bridge loads.
        dictionaries: where they come from, `SOURCE` or `SOURCE:IDS`, one or several: a release of
            sae_lens's registry, a folder, or a repository of the hub (`OWNER/NAME`); `FOLDER@HOOK`
            of one that does not say what it is of (`FOLDER@READ,WRITTEN`: a transcoder). Without
            ids a small default of each is loaded (`splicing.offers.default_of`; `saecircuits
            dictionaries SOURCE` lists it). By default those of the manifest.
        sites: hook names, or one kind (`resid_post`, `attn_out`, `mlp_out`, `transcoder`, ...) for
            every dictionary of that kind; by default the manifest's default sites, or whatever
            `dictionaries` names.
        dtype: of model and dictionaries: float64, float32, bfloat16 or float16, by name or torch's.
        device: where both are put: `cpu`, `cuda`, `cuda:1`, `mps`, ...
        insist: take dictionaries that say they were made for another model.
        progress: called with a stage's name and the share done, where a GGUF file is converted; a
            bar on the terminal if None.

    Raises:
        InputError: no such device here, or one without that dtype; seen before anything is read.
            Two dictionaries for one place; a model without dictionaries.
        UnknownNameError: no such dtype, model, source, dictionary or site.
        ModelError: files that are missing or not what the manifest says; a package that is not
            installed; a hub out of reach; a checkpoint that lacks weights; a bridge that does not
            compute what the model computes.
        DictionaryError: a dictionary made for another model, or of another width.
    """
    where, kind = read_place(device, dtype)
    if sites is not None and not sites:
        raise InputError("sites is empty; name at least one, or leave it out")
    # What can be refused by names alone is, before anything large is read.
    offers = None if dictionaries is None else asked_for(dictionaries, sites)
    place = _find(name_or_folder, has_dictionaries=offers is not None, progress=progress)
    provenance: dict[str, Any] = {"source": public_path(name_or_folder)}
    if offers is None:
        assert place.manifest is not None, "a folder without a manifest is refused without them"
        found = _of_manifest(place, sites)
        provenance["sites"] = sites if sites == "transcoder" else list(found)
        provenance["stated"] = _stated(entries_of(place.manifest, sites))
        bridge = boot(place.model, dtype=kind, device=where)
    else:
        bridge = boot(place.model, dtype=kind, device=where)
        taken = [brought(offer) for offer in offers]
        at = {hook: one for one in taken for hook in one.hooks}
        found = _one_each(taken)
        provenance["dictionaries_from"] = {hook: public_name(one) for hook, one in at.items()}
        provenance["revisions"] = revisions_of(offers)
        provenance["stated"] = {
            hook: said for hook, one in at.items() if (said := one.offer.stated)
        }
        provenance["stated_by_user"] = {
            hook: f"reads {one.dictionary.reads or hook}, writes {hook}"
            for hook, one in at.items()
            if one.offer.is_placed
        }
        provenance["insisted"] = [
            said
            for hook, one in at.items()
            if isinstance(one.dictionary, Dictionary)  # SAEs of sae_lens say it to splice()
            for said in made_for_another(one.declared.model, place.name, hook, insist=insist)
        ]
    provenance["stored_in"] = _narrower(found, torch.promote_types(kind, torch.float32))
    with refused(f"the model in {place.model} cannot be used"):
        return splice(
            bridge,
            found,
            name=place.name,
            provenance={key: value for key, value in provenance.items() if value},
            is_copied=False,
            insist=insist,
        )


@dataclass(frozen=True)
class _Place:
    """Where a model is: what the bridge loads, what files call it, and its manifest, if any."""

    model: str
    name: str
    folder: Path | None = None
    manifest: Mapping[str, Any] | None = None


def _find(
    name_or_folder: str | Path, *, has_dictionaries: bool, progress: Progress | None
) -> _Place:
    name = str(name_or_folder)
    shipped = shipped_folders()
    folder = shipped.get(name, Path(name))
    if not has_dictionaries and (is_gguf(name) or (name in PACKAGED and name not in shipped)):
        raise _without_dictionaries(name)
    if is_gguf(name):
        return _Place(str(converted(name, progress)), Path(name).stem)
    if name in PACKAGED and name not in shipped:
        return _packaged(name, progress)
    if folder.is_dir():
        # Absolute, because transformer_lens takes a relative "gpt2" for the hub's model.
        folder = folder.resolve()
        if (folder / manifests.NAME).is_file() or not (folder / _CONFIG).is_file():
            return _with_manifest(folder, progress)
        if not has_dictionaries:
            raise _without_dictionaries(name)
        return _Place(str(folder), folder.name)
    if not has_dictionaries:
        if official_name(name) is not None:
            raise _without_dictionaries(name)
        model_folder(name_or_folder)  # says which names there are
    return _Place(name, name)


def _with_manifest(folder: Path, progress: Progress | None) -> _Place:
    manifest = manifests.read(folder)
    manifests.check_files(folder, manifest)
    if manifest.get("packaged") is not None:
        found = _packaged(manifest["packaged"], progress)
        return replace(found, name=manifest["name"], folder=folder, manifest=manifest)
    model = folder / manifest.get("model", "model")
    return _Place(str(model), manifest["name"], folder, manifest)


def _packaged(name: str, progress: Progress | None) -> _Place:
    if name not in PACKAGED:
        raise UnknownNameError("model of a package", name, PACKAGED)
    return _Place(str(packaged_folder(PACKAGED[name], progress)), name)


def _without_dictionaries(name: str) -> ModelError:
    made = releases_for(name)
    known = f"; releases for it: {', '.join(made[:_NAMED])}" if made else ""
    more = f" and {len(made) - _NAMED} more" if len(made) > _NAMED else ""
    is_ours = name in PACKAGED
    what = "comes without dictionaries here" if is_ours else "is a model without dictionaries"
    return ModelError(
        f"{name} {what}; name them too: dictionaries=RELEASE, FOLDER or OWNER/NAME of a hub "
        f"(--dictionaries), or give splice() a bridge and dictionaries{known}{more}"
    )


def _of_manifest(place: _Place, sites: str | Sequence[str] | None) -> dict[str, Any]:
    assert place.folder is not None and place.manifest is not None
    return {
        entry["writes"]: _load_dictionary(place.folder / entry["path"], entry, place.manifest)
        for entry in entries_of(place.manifest, sites)
    }


def _load_dictionary(path: Path, entry: Mapping[str, Any], manifest: Mapping[str, Any]) -> Any:
    """A dictionary of a manifest, which says where it belongs; its own files need not."""
    if is_sae_lens_folder(path):
        found = load_sae(path)
        made_for, writes = found.cfg.metadata.model_name, None  # splice() looks at its hook
    else:
        one = dictionary_at(path)
        found, made_for, writes = one.load(), one.declared.model, one.writes
    if made_for is not None and made_for != manifest["name"]:
        raise DictionaryError(
            f"{path} was trained for model {made_for!r}, but the manifest's model is "
            f"{manifest['name']!r}; use dictionaries trained on this model"
        )
    if writes is not None and not is_same_tensor(writes, entry["writes"]):
        raise DictionaryError(
            f"{path} says that it is for {writes!r}, but the manifest has it at "
            f"{entry['writes']!r}; write the manifest anew: saecircuits manifest"
        )
    return found


def _narrower(
    found: Mapping[str, Any] | CrossLayerTranscoder, working: torch.dtype
) -> dict[str, str]:
    """The dtype that dictionaries are stored in, by hook, where it is less than what is computed
    in: they are widened once, when they are spliced in.
    """
    if isinstance(found, CrossLayerTranscoder):
        return {}  # rows are widened as they are read
    stored = {hook: one.W_enc.dtype for hook, one in found.items()}
    return {
        hook: str(dtype).removeprefix("torch.")
        for hook, dtype in stored.items()
        if dtype.itemsize < working.itemsize
    }


def _one_each(taken: Sequence[Brought]) -> Mapping[str, Any] | CrossLayerTranscoder:
    """What `splice` takes: dictionaries by hook point, each alone there, or a cross-layer one.

    Raises:
        InputError: two of them turn out to be for one hook point.
    """
    at: dict[str, Brought] = {}
    for one in taken:
        for hook in one.hooks:
            if hook in at:
                raise InputError(
                    f"two dictionaries were asked for at {hook}: {at[hook].offer.name!r} and "
                    f"{one.offer.name!r}; a hook point has one, so leave one out"
                )
            at[hook] = one
    for one in taken:
        if isinstance(one.dictionary, CrossLayerTranscoder):
            if len(taken) > 1:
                raise InputError(
                    f"{one.offer.name!r} is a cross-layer transcoder, which takes the place of "
                    "every MLP and is loaded alone; leave out the other dictionaries"
                )
            return one.dictionary
    return {hook: one.dictionary for hook, one in at.items()}


def model_folder(name_or_folder: str | Path) -> Path:
    """Where a shipped model lies, or the folder itself, made absolute.

    Raises:
        UnknownNameError: no shipped model has that name, and it is no folder.
        ModelError: the same where no models are shipped; it says how to get them. A model of a
            package that no dictionaries are shipped for.
    """
    by_name = shipped_folders()
    if str(name_or_folder) in by_name:
        return by_name[str(name_or_folder)]
    if str(name_or_folder) in PACKAGED:
        raise _without_dictionaries(str(name_or_folder))
    folder = Path(name_or_folder).resolve()
    if not folder.is_dir():
        if not by_name:
            raise not_shipped(f"{cut(str(name_or_folder), 80)!r} is no folder")
        raise UnknownNameError("model", str(name_or_folder), {*by_name, *PACKAGED})
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


def _stated(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """What a manifest says of its dictionaries, by hook point: variance explained and L0."""
    keys = {"fraction_variance_explained": "variance_explained", "mean_l0": "l0"}
    return {
        entry["writes"]: {name: float(entry[key]) for key, name in keys.items() if key in entry}
        for entry in entries
    }
