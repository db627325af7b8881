"""`check_graph`: whether a file of attribution-graph JSON opens, stricter than the format's schema.

First the shape that the schema asks for, then the rules (`rules`), which are named. Every finding
says what was found and what would be right, and which viewer it concerns: `neuronpedia`, or
`circuit-tracer`, the local one.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from saecircuits.errors import InputError, UnknownNameError
from saecircuits.interchange.findings import SHOWN, VIEWERS, Finding, is_integer, is_number
from saecircuits.interchange.rules import RULES, upload
from saecircuits.interchange.viewers import Viewer
from saecircuits.runs.storage import read_bytes

# JSON types by name, as in the schema: required keys of each part.
_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "text": lambda value: isinstance(value, str),
    "list": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "integer": is_integer,
    "number": lambda value: is_number(value),
    "integer or null": lambda value: value is None or _TYPES["integer"](value),
    "number or null": lambda value: value is None or is_number(value),
    "text or integer": lambda value: isinstance(value, str) or _TYPES["integer"](value),
    "text or null": lambda value: value is None or isinstance(value, str),
    "object or null": lambda value: value is None or isinstance(value, dict),
    "list of text or null": lambda value: (
        value in (None, "")
        or (isinstance(value, list) and all(isinstance(one, str) for one in value))
    ),
}
_ROOT: Final = {"metadata": "object", "qParams": "object", "nodes": "list", "links": "list"}
_METADATA: Final = {"slug": "text", "scan": "text", "prompt_tokens": "list", "prompt": "text"}
# Keys that may be left out.
_METADATA_OPTIONAL: Final = {
    "info": "object or null",
    "feature_details": "object or null",
    "pruning_settings": "object or null",
    "generation_settings": "object or null",
    "node_threshold": "number or null",
}
_ASKED_OPTIONAL: Final = {"pinnedIds": "list of text or null", "clickedId": "text or null"}
_NODE: Final = {
    "node_id": "text",
    "feature": "integer or null",
    "layer": "text or integer",
    "ctx_idx": "integer",
    "feature_type": "text",
    "jsNodeId": "text",
    "clerp": "text",
}
_NODE_OPTIONAL: Final = {
    "influence": "number or null",
    "activation": "number or null",
    "token_prob": "number or null",
}
_LINK: Final = {"source": "text", "target": "text", "weight": "number"}


def check_graph(
    graph: str | Path | Mapping[str, Any], *, target: str | None = None
) -> tuple[Finding, ...]:
    """What keeps attribution-graph JSON from opening; empty if nothing does.

    Args:
        graph: a file, or its content.
        target: `neuronpedia` or `circuit-tracer`; both if None.

    Raises:
        RunFolderError: no such file, or it cannot be read.
        UnknownNameError: no such target.
    """
    if target is not None and target not in VIEWERS:
        raise UnknownNameError("viewer", target, VIEWERS)
    if isinstance(graph, Mapping):
        document: Any = graph
        try:
            data = json.dumps(graph).encode()
        except (TypeError, ValueError, RecursionError) as error:
            return (Finding("error", "json", f"no JSON ({error}); give plain values"),)
        found = list(_not_finite(data))
    else:
        data = read_bytes(Path(graph))
        found = list(_not_finite(data))
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            reason = str(error).partition("\n")[0]
            return (Finding("error", "json", f"no JSON ({reason}); write the file again"),)
    shape = list(_shape(document))
    found += shape
    if not shape:
        for rule in RULES:
            found += rule(document)
        found += upload(data)
    return tuple(one for one in found if target is None or target in one.viewers)


def require_sound(graph: Mapping[str, Any], *, target: Viewer) -> None:
    """Refuses a graph that would not open.

    Raises:
        InputError: naming the first error.
    """
    errors = [one for one in check_graph(graph, target=target) if one.level == "error"]
    if errors:
        raise InputError(f"the graph would not open in {target}: {errors[0].message}")


def _not_finite(data: bytes) -> Iterator[Finding]:
    """NaN and infinity, which Python writes and no browser reads."""
    names: list[str] = []
    try:
        json.loads(data, parse_constant=names.append)
    except (ValueError, RecursionError):
        return
    if names:
        yield Finding(
            "error",
            "not-finite",
            f"{len(names)} numbers are {' or '.join(sorted(set(names)))}, which is no JSON; write "
            "null, or leave the key out",
        )


def _shape(document: Any) -> Iterator[Finding]:
    """What the format's own schema asks for."""
    yield from _keys(document, _ROOT, "the file")
    if not isinstance(document, dict):
        return
    yield from _keys(document.get("metadata", {}), _METADATA, "metadata")
    yield from _optional(document.get("metadata"), _METADATA_OPTIONAL, "metadata")
    yield from _optional(document.get("qParams"), _ASKED_OPTIONAL, "qParams")
    for name, keys in (("nodes", _NODE), ("links", _LINK)):
        rows = document.get(name)
        wrong = [
            (number, one)
            for number, row in enumerate(rows if isinstance(rows, list) else ())
            for one in (
                *_keys(row, keys, f"{name}[{number}]"),
                *_optional(row, _NODE_OPTIONAL if name == "nodes" else {}, f"{name}[{number}]"),
            )
        ]
        yield from (one for _, one in wrong[:SHOWN])
        if len(wrong) > SHOWN:
            yield Finding("error", "schema", f"{name}: {len(wrong) - SHOWN} more of this kind")
    tokens = document.get("metadata", {})
    tokens = tokens.get("prompt_tokens") if isinstance(tokens, dict) else None
    if isinstance(tokens, list) and not all(isinstance(token, str) for token in tokens):
        yield Finding("error", "schema", "metadata.prompt_tokens holds other things than text")


def _keys(value: Any, keys: Mapping[str, str], where: str) -> Iterator[Finding]:
    if not isinstance(value, dict):
        found = type(value).__name__
        yield Finding("error", "schema", f"{where} is {found}; an object is needed")
        return
    for key, kind in keys.items():
        if key not in value:
            yield Finding("error", "schema", f"{where} has no {key!r}; give {kind}")
        elif not _TYPES[kind](value[key]):
            shown = repr(value[key])[:40]
            yield Finding("error", "schema", f"{where}.{key} is {shown}; {kind} is needed")


def _optional(value: Any, keys: Mapping[str, str], where: str) -> Iterator[Finding]:
    if isinstance(value, dict):
        yield from _keys(value, {key: kind for key, kind in keys.items() if key in value}, where)
