"""`ro-crate-metadata.json`: what is in a run's folder, and how it came about, as RO-Crate 1.1.

JSON-LD that archives and catalogues read: every file with its digest, one action that made them
with its command and software, and model, dictionaries and task as what it worked on.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from saecircuits.features.texts import NOT_STATED
from saecircuits.runs.feature_files import read_dashboards
from saecircuits.runs.folder import CARD, CRATE, FEATURES, FILES, HUMAN_LABELS, RECORD
from saecircuits.runs.records import CircuitRecord, read_record
from saecircuits.runs.storage import read_bytes, sha256, to_json, write_bytes

_CONTEXT: Final = [
    "https://w3id.org/ro/crate/1.1/context",
    {"sha256": "https://schema.org/sha256"},
]
_CONFORMS: Final = "https://w3id.org/ro/crate/1.1"
_FORMATS: Final = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".parquet": "application/vnd.apache.parquet",
    ".svg": "image/svg+xml",
    ".pdf": "application/pdf",
    ".md": "text/markdown",
    ".html": "text/html",
}
_HOMES: Final = {
    "torch": "https://pytorch.org",
    "transformer_lens": "https://transformerlensorg.github.io/TransformerLens/",
    "python": "https://www.python.org",
}


def write_crate(folder: Path, *, title: str | None = None, licence: str | None = None) -> None:
    """Writes `ro-crate-metadata.json` about the files that the folder now holds.

    Title, licence and day that an earlier one names are kept where none are given.

    Args:
        licence: of the run's files, a name or an address.

    Raises:
        RunFolderError: no run in the folder, or it cannot be written to.
    """
    record = read_record(folder)
    before = _before(folder)
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": title or before.get("name") or "A circuit of SAE features",
        "description": _described(record),
        "datePublished": before.get("datePublished") or _today(),
        "license": {"@id": _licence_id(licence or before.get("licence"))},
        "mentions": {"@id": "#run"},
    }
    files = _files(folder)
    parts = [*files, *_features(folder)]
    graph = [
        {
            "@id": CRATE,
            "@type": "CreativeWork",
            "conformsTo": {"@id": _CONFORMS},
            "about": {"@id": "./"},
        },
        {**root, "hasPart": [{"@id": one["@id"]} for one in parts if one["@type"] != "Nested"]},
        *({**one, "@type": "File"} if one["@type"] == "Nested" else one for one in parts),
        _licence(licence or before.get("licence")),
        *_history(record, [one["@id"] for one in files]),
    ]
    write_bytes(folder / CRATE, to_json({"@context": _CONTEXT, "@graph": graph}))


def stored_licence(folder: Path) -> str | None:
    """The licence that the folder's metadata names; None where there is none."""
    return _before(folder).get("licence")


def _files(folder: Path) -> list[dict[str, Any]]:
    names = [name for name in (*FILES, HUMAN_LABELS) if name != CRATE]
    return [_file(folder / name, name) for name in names if (folder / name).is_file()]


def _features(folder: Path) -> list[dict[str, Any]]:
    boards = read_dashboards(folder)
    if not boards:
        return []
    corpus = boards[0].saecircuits.corpus
    names = [f"{FEATURES}/{board.name}" for board in boards]
    whole = {
        "@id": f"{FEATURES}/",
        "@type": "Dataset",
        "name": "Dashboards of the circuit's features",
        "description": f"Looked at on {corpus.tokens:,} tokens: {corpus.source}. Licence of the "
        f"text: {corpus.licence}. Words of it are {'' if corpus.is_shown else 'not '}shown.",
        "hasPart": [{"@id": name} for name in names],
    }
    return [whole, *({**_file(folder / name, name), "@type": "Nested"} for name in names)]


def _file(path: Path, name: str) -> dict[str, Any]:
    data = read_bytes(path)
    return {
        **_entity(name, "File", name),
        "contentSize": str(len(data)),
        "encodingFormat": _FORMATS.get(path.suffix, "application/octet-stream"),
        "sha256": sha256(data),
    }


def _history(record: CircuitRecord, results: list[str]) -> list[dict[str, Any]]:
    """The action that made the run, with what it used."""
    known = record.provenance
    software = [
        {
            **_entity(f"#software-{name}", "SoftwareApplication", name.replace("_", "-")),
            "softwareVersion": version,
            **({"url": _HOMES[name]} if name in _HOMES else {}),
        }
        for name, version in record.versions
    ]
    model = {
        **_entity("#model", "CreativeWork", record.model),
        "description": "The language model that the circuit is of; its weights are not included.",
        "identifier": f"sha256:{known.get('model_digest')}",
    }
    dictionaries = [
        {
            **_entity(f"#dictionary-{hook}", "CreativeWork", f"dictionary at {hook}"),
            "isBasedOn": {"@id": "#model"},
            "identifier": f"sha256:{digest}",
        }
        for hook, digest in sorted(record.dictionaries.items())
    ]
    task = [
        {
            **_entity("#task", "CreativeWork", one.name),
            "description": one.description,
            "identifier": f"sha256:{one.digest}",
        }
        for one in ([] if record.task is None else [record.task])
    ]
    used = [model, *dictionaries, *task]
    action = {
        **_entity("#run", "CreateAction", record.command or "made from Python; the card shows how"),
        "description": json.dumps(
            {"settings": record.settings.model_dump(mode="json"), "selection": record.selection},
            sort_keys=True,
        ),
        "instrument": [{"@id": one["@id"]} for one in software],
        "object": [{"@id": one["@id"]} for one in used],
        "result": [{"@id": name} for name in results],
    }
    return [action, *software, *used]


def _entity(which: str, kind: str, name: str) -> dict[str, Any]:
    return {"@id": which, "@type": kind, "name": name}


def _described(record: CircuitRecord) -> str:
    counts = record.counts
    asked = "" if record.task is None else f" It was asked: {record.task.description}"
    return (
        f"A circuit of {counts.members} SAE features and error nodes and {counts.circuit_edges} "
        f"edges in the model {record.model}, found and validated by "
        f"ablation.{asked} {CARD} says how sure it is, {RECORD} how it was made."
    )


def _licence(given: str | None) -> dict[str, Any]:
    about = (
        "Nobody has stated under which licence this run may be used; ask its author."
        if given is None
        else f"The files of this run may be used under: {given}"
    )
    return {
        **_entity(_licence_id(given), "CreativeWork", given or NOT_STATED),
        "description": about,
    }


def _licence_id(given: str | None) -> str:
    is_address = given is not None and given.startswith(("https://", "http://"))
    return str(given) if is_address else "#licence"


def _before(folder: Path) -> Mapping[str, str]:
    """Name, day and licence of the metadata that is there, as far as it can be read."""
    path = folder / CRATE
    if not path.exists():
        return {}
    try:
        entities = {one["@id"]: one for one in json.loads(read_bytes(path))["@graph"]}
        root = entities["./"]
        licence = entities[root["license"]["@id"]]["name"]
        kept = {"name": root["name"], "datePublished": root["datePublished"]}
    except (ValueError, KeyError, TypeError):
        return {}
    return kept if licence == NOT_STATED else {**kept, "licence": licence}


def _today() -> str:
    """The day in UTC; `SOURCE_DATE_EPOCH` can set it, for files that are to be repeated exactly."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = int(given) if given.isdecimal() else time.time()
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
