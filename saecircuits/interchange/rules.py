"""The rules of `check_graph`, each on a file that has the format's shape.

Every rule stands for a way in which a file that follows the schema was seen to break one of the two
known viewers, or follows from their code.
"""

import gzip
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from saecircuits.interchange.findings import Finding, is_number, repeated, some, whole_number
from saecircuits.interchange.viewers import FEATURE_TYPES, LOGIT, uncantor

# Types that either viewer knows; of the first, features with a dashboard.
FEATURE_NAMES: Final = ("cross layer transcoder", "lorsa")
_KNOWN_TYPES: Final = (*FEATURE_NAMES, *FEATURE_TYPES.values(), "lorsa error", "bias", "unknown")
_LOGIT_TEXT: Final = re.compile(r"\(p=\s*[-+0-9.eE]+\s*\)")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
_SMALLEST, _LARGEST = 1024, 100 * 2**20  # bytes of an upload, the first of them compressed
EMBEDDING: Final = FEATURE_TYPES["token"]
_EXACT: Final = 2**53  # integers that JavaScript tells apart


def _ids(document: Mapping[str, Any]) -> Iterator[Finding]:
    twice = repeated(node["node_id"] for node in document["nodes"])
    if twice:
        yield Finding(
            "error",
            "duplicate-id",
            f"{len(twice)} values of node_id stand at several nodes ({some(twice)}): edges go to "
            "the last of them, and graph libraries refuse the file; give each node its own",
        )


def _links(document: Mapping[str, Any]) -> Iterator[Finding]:
    known = {node["node_id"] for node in document["nodes"]}
    ends = [end for link in document["links"] for end in (link["source"], link["target"])]
    dangling = sorted({end for end in ends if end not in known})
    if dangling:
        yield Finding(
            "error",
            "dangling-link",
            f"links name {len(dangling)} nodes that are not there ({some(dangling)}) and are "
            "dropped unsaid; add the nodes or leave the links out",
        )
    twice = repeated((link["source"], link["target"]) for link in document["links"])
    if twice:
        yield Finding(
            "warning",
            "duplicate-link",
            f"{len(twice)} links are there twice ({some(' -> '.join(pair) for pair in twice)}); "
            "add their weights into one",
        )


def _labels(document: Mapping[str, Any]) -> Iterator[Finding]:
    logits = [node for node in document["nodes"] if node["feature_type"] == LOGIT]
    wrong = [node["node_id"] for node in logits if not _LOGIT_TEXT.search(node["clerp"])]
    if wrong:
        yield Finding(
            "error",
            "logit-label",
            f"{len(wrong)} logit nodes have no probability in clerp ({some(wrong)}): viewers "
            'crash and stay blank; write it like: Output " Austin" (p=0.439)',
        )
    if not logits:
        yield Finding(
            "error", "no-logit", "no node has feature_type 'logit'; add what links lead to"
        )
    nameless = [
        node["node_id"]
        for node in document["nodes"]
        if node["feature_type"] in FEATURE_NAMES and not node["clerp"].strip()
    ]
    if nameless:
        yield Finding(
            "warning",
            "missing-label",
            f"{len(nameless)} features have an empty clerp ({some(nameless)}) and show as bare "
            "circles; write at least layer and number there",
        )
    # It writes the labels of tokens itself.
    written = [node for node in document["nodes"] if node["feature_type"] != EMBEDDING]
    marked = [node["node_id"] for node in written if re.search(r"<\w", node["clerp"])]
    if marked:
        yield Finding(
            "warning",
            "markup",
            f"{len(marked)} labels hold '<' before a letter ({some(marked)}), which the local "
            "viewer takes for markup; replace it",
            ("circuit-tracer",),
        )


def _influence(document: Mapping[str, Any]) -> Iterator[Finding]:
    threshold = document["metadata"].get("node_threshold")
    counted = [node for node in document["nodes"] if node["feature_type"] != LOGIT]
    given = [node["influence"] for node in counted if node.get("influence") is not None]
    if threshold is not None and len(given) < len(counted):
        yield Finding(
            "error",
            "missing-influence",
            f"node_threshold is set, but {len(counted) - len(given)} of {len(counted)} nodes have "
            "no influence and vanish unsaid; give all of them influence, or no node_threshold",
            ("circuit-tracer",),
        )
    outside = [value for value in given if not -1e-6 <= value <= 1 + 1e-3]
    if outside:
        yield Finding(
            "error",
            "influence-range",
            f"{len(outside)} influences lie outside 0 to 1 (such as {outside[0]:g}); influence is "
            "cumulative: the share of a node and of all stronger ones",
        )
    # Pruning keeps the node that crosses the threshold.
    beyond = sum(value > threshold for value in given) if is_number(threshold) else 0
    if beyond > 1:
        yield Finding(
            "warning",
            "hidden-nodes",
            f"{beyond} nodes have an influence above node_threshold {threshold} and are hidden at "
            "first; raise it to 1 to show all",
        )


def _prompt(document: Mapping[str, Any]) -> Iterator[Finding]:
    tokens = document["metadata"]["prompt_tokens"]
    if len(tokens) < 2:
        yield Finding(
            "error",
            "one-token",
            f"the prompt has {len(tokens)} tokens: nodes at more than two thirds of all tokens are "
            "dropped, so nothing is drawn; put BOS in front",
            ("circuit-tracer",),
        )
    outside = [n["node_id"] for n in document["nodes"] if not 0 <= n["ctx_idx"] < len(tokens)]
    if outside:
        yield Finding(
            "error",
            "position",
            f"{len(outside)} nodes stand beside the {len(tokens)} prompt tokens "
            f"({some(outside)}); ctx_idx counts from 0",
        )


def _layers(document: Mapping[str, Any]) -> Iterator[Finding]:
    layers = {node["layer"] for node in document["nodes"] if node["feature_type"] != LOGIT}
    numbers = [number for layer in layers if (number := whole_number(layer)) is not None]
    if max(numbers, default=0) == 0:
        yield Finding(
            "error",
            "one-layer",
            "no node lies above layer 0: the viewer stops with 'No layer found'; number layers "
            "from 1",
            ("neuronpedia",),
        )
    odd = sorted(str(layer) for layer in layers if whole_number(layer) is None and layer != "E")
    if odd:
        yield Finding("error", "layer", f"layers {some(odd)} are no numbers; give a number, or 'E'")


def _types(document: Mapping[str, Any]) -> Iterator[Finding]:
    odd = sorted({node["feature_type"] for node in document["nodes"]} - set(_KNOWN_TYPES))
    if odd:
        yield Finding(
            "error",
            "feature-type",
            f"feature_type {some(odd)} is unknown: such nodes get no dashboard and no logits; "
            f"use one of {', '.join(sorted(set(_KNOWN_TYPES)))}",
        )


def _key_collisions(document: Mapping[str, Any]) -> Iterator[Finding]:
    features = [node for node in document["nodes"] if node["feature_type"] in FEATURE_NAMES]
    twice = repeated((str(n["layer"]), n["feature"], n["ctx_idx"]) for n in features)
    if twice:
        yield Finding(
            "error",
            "key-collision",
            f"{len(twice)} features share layer, feature and ctx_idx "
            f"({some('/'.join(map(str, key)) for key in twice)}), which viewers know them by; "
            "give each dictionary a layer of its own",
        )
    if document["metadata"].get("schema_version") != 1:
        return
    wrong, large = [], []
    for node in features:
        number = node["feature"]
        if number is None or number < 0:
            wrong.append(node["node_id"])
        elif number >= _EXACT:
            large.append(node["node_id"])
        elif str(node["layer"]) != str(uncantor(int(number))[0]):
            wrong.append(node["node_id"])
    if wrong:
        yield Finding(
            "error",
            "feature-number",
            f"{len(wrong)} features are not the pairing of their layer and index ({some(wrong)}), "
            "which schema_version 1 asks for: (l + f)(l + f + 1)/2 + f; viewers look up others",
        )
    if large:
        yield Finding(
            "error",
            "feature-number",
            f"{len(large)} feature numbers reach 2^53 ({some(large)}), where JavaScript no longer "
            "tells neighbours apart; use smaller layers or dictionaries",
        )


def _opening(document: Mapping[str, Any]) -> Iterator[Finding]:
    asked, known = document["qParams"], {node["node_id"] for node in document["nodes"]}
    if "clerps" in asked:
        yield Finding(
            "error",
            "clerps",
            f"qParams.clerps is {type(asked['clerps']).__name__}: as a list it crashes the local "
            "viewer, as text the other; write labels into the nodes' clerp",
        )
    groups = asked.get("supernodes") or []
    if not (isinstance(groups, list) and all(_is_group(group) for group in groups)):
        yield Finding(
            "error",
            "supernodes",
            "qParams.supernodes is no list of lists of text; write [[label, node_id, ...], ...]",
        )
        groups = []
    named = {
        "pinnedIds": asked.get("pinnedIds") or [],
        "supernodes": [node for group in groups for node in group[1:]],
        "clickedId": [asked["clickedId"]] if asked.get("clickedId") else [],
    }
    for key, ids in named.items():
        unknown = sorted({str(one) for one in ids if one not in known})
        if unknown:
            yield Finding(
                "error",
                "unknown-node",
                f"qParams.{key} names {len(unknown)} nodes that are not there ({some(unknown)}); "
                "use values of node_id",
            )
    if groups:
        yield Finding(
            "warning",
            "supernodes",
            f"the local viewer leaves out the {len(groups)} supernodes of the file; open it by an "
            "address with supernodes=",
            ("circuit-tracer",),
        )


def _names(document: Mapping[str, Any]) -> Iterator[Finding]:
    metadata = document["metadata"]
    slug, scan = metadata["slug"], metadata["scan"]
    if not _NAME.fullmatch(slug):
        yield Finding(
            "error", "name", f"slug is {slug!r}; use letters, digits, '_', '.' and '-' alone"
        )
    if not _NAME.fullmatch(scan):
        yield Finding(
            "error",
            "name",
            f"scan is {scan!r}; it is the model's name there: letters, digits, '_', '.' and '-'",
            ("neuronpedia",),
        )
    if not scan.startswith(("./", "/")) or scan.startswith("./features"):
        yield Finding(
            "warning",
            "scan",
            f"scan is {scan!r}: the local viewer asks huggingface.co for dashboards; begin it with "
            "'./' (and not './features') to have them from the bundle",
            ("circuit-tracer",),
        )
    details = metadata.get("feature_details")
    has_base = isinstance(details, Mapping) and details.get("feature_json_base_url")
    if has_base and metadata.get("schema_version") == 1:
        yield Finding(
            "warning",
            "feature-address",
            "feature_json_base_url is left unread with schema_version 1; give one of them",
            ("neuronpedia",),
        )


def upload(data: bytes) -> Iterator[Finding]:
    """Whether the hosted viewer takes a file of these bytes."""
    packed = len(gzip.compress(data, mtime=0))
    if packed < _SMALLEST:
        yield Finding(
            "warning",
            "too-small",
            f"the file packs into {packed} bytes; its Python client uploads packed files and "
            f"refuses those under {_SMALLEST}: upload it by hand",
            ("neuronpedia",),
        )
    if len(data) > _LARGEST:
        yield Finding(
            "error",
            "too-large",
            f"the file has {len(data):,} bytes; at most {_LARGEST:,} are taken: prune the graph",
            ("neuronpedia",),
        )


RULES: Final = (
    _ids,
    _links,
    _labels,
    _influence,
    _prompt,
    _layers,
    _types,
    _key_collisions,
    _opening,
    _names,
)


def _is_group(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) > 1
        and all(isinstance(part, str) for part in value)
    )
