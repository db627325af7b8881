"""Attribution graphs of other programs as circuits.

What such a file calls a feature stays one; `site` is the hook that a transcoder or attention
dictionary of its layer writes. Ids stay as they are, so that pins and groups mean the same nodes.
Links are direct effects; total effects are not in the file, and nodes are ordered by its influence.
The settings say in our words what circuit-tracer computes: attention and norms held, features token
by token, errors at their clean value, everything measured from zero.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from saecircuits.circuits import Circuit
from saecircuits.edges.graph import EDGE_COLUMNS, METRIC, NODE_COLUMNS, PART_COLUMNS
from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import InputError
from saecircuits.publication.files import sha256, to_json
from saecircuits.publication.interchange.checks import check_graph
from saecircuits.publication.interchange.graph_file import GraphFile, Group, Label
from saecircuits.publication.interchange.own import empty_frame
from saecircuits.publication.interchange.viewers import FEATURE_TYPES, LOGIT, uncantor
from saecircuits.splicing.sites import TOKEN_HOOK, hook_of

_KINDS: Final = {
    **{kind: name for name, kind in FEATURE_TYPES.items()},
    "lorsa": "feature",
    "lorsa error": "error",
    "bias": "bias",
}
_ATTENTION: Final = ("lorsa", "lorsa error")
# What keeps a file from being read, whatever it then does to a viewer.
_UNREADABLE: Final = ("json", "schema", "not-finite", "dangling-link", "position", "layer")


def from_foreign(document: Mapping[str, Any], *, where: str) -> GraphFile:
    """A graph that another program wrote.

    Nodes that share an id get ids of their own, and their links are told apart by their order.

    Raises:
        InputError: not of the format's shape, or links to nodes that are not there.
    """
    errors = [
        one for one in check_graph(document) if one.rule in _UNREADABLE and one.level == "error"
    ]
    if errors:
        raise InputError(f"{where} cannot be read as an attribution graph: {errors[0].message}")
    nodes, links, notes = _with_own_ids(document["nodes"], document["links"])
    links, added = _added_up(links)
    notes += added
    mended = {**document, "nodes": nodes, "links": links} if notes else dict(document)
    ordered = sorted(nodes, key=_rank)
    tokens = document["metadata"]["prompt_tokens"]
    is_paired = document["metadata"].get("schema_version") == 1
    rows = [_row(node, tokens, nodes, is_paired=is_paired) for node in ordered]
    edges = [
        {"source": link["source"], "target": link["target"], "effect": float(link["weight"])}
        for link in sorted(links, key=lambda link: -abs(link["weight"]))
    ]
    info = document["metadata"].get("info") or {}
    circuit = Circuit(
        nodes=empty_frame(rows, NODE_COLUMNS),
        edges=empty_frame(edges, EDGE_COLUMNS),
        edge_parts=empty_frame([], PART_COLUMNS),
        candidates=tuple(row["node"] for row in rows if row["kind"] in ("feature", "error")),
        settings=AttributionSettings(
            linearization="frozen",
            positions="each",
            error_policy="hold",
            baseline="zero",
            thresholds="held",
            parts=False,
        ),
        selection={"by": "influence", **(document["metadata"].get("pruning_settings") or {})},
        summary={"edges_computed": len(edges)},
        provenance={
            "model": document["metadata"]["scan"],
            "source_set": info.get("neuronpedia_source_set") or info.get("transcoder_set"),
            "generator": info.get("generator") or {},
            "file_digest": sha256(to_json(document, indent=None)),
            "prompt": document["metadata"]["prompt"],
        },
    )
    asked = document["qParams"]
    return GraphFile(
        circuit=circuit,
        labels={
            node["node_id"]: Label(node["clerp"], "file")
            for node in nodes
            if _kind(node) == "feature" and node["clerp"]
        },
        influence={
            node["node_id"]: float(node["influence"])
            for node in nodes
            if node.get("influence") is not None
        },
        pins=tuple(asked.get("pinnedIds") or ()),
        groups=tuple(Group(name, tuple(ids)) for name, *ids in asked.get("supernodes") or ()),
        title=document["metadata"]["slug"],
        document=mended,
        notes=tuple(notes),
    )


def _with_own_ids(
    nodes: Sequence[Mapping[str, Any]], links: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Nodes and links in which every id stands for one node; how that came about in words."""
    places: dict[str, list[int]] = {}
    for place, node in enumerate(nodes):
        places.setdefault(node["node_id"], []).append(place)
    twice = {name: found for name, found in places.items() if len(found) > 1}
    renamed = [dict(node) for node in nodes]
    new_links = [dict(link) for link in links]
    if not twice:
        return renamed, new_links, []
    names: dict[int, str] = {place: node["node_id"] for place, node in enumerate(nodes)}
    for name, found in twice.items():
        for number, place in enumerate(found[1:], start=2):
            names[place] = renamed[place]["node_id"] = _free(f"{name}#{number}", places)
    guessed = 0
    # Writers list the links of a target in the order of the sources in the list of nodes.
    for number, link in enumerate(links):
        for end in ("source", "target"):
            choices = twice.get(link[end])
            if choices is None:
                continue
            if end == "target":
                fitting = [place for place in choices if _is_reader(nodes[place])]
            else:
                low = _neighbour(links, places, number, step=-1, missing=-1)
                high = _neighbour(links, places, number, step=1, missing=len(nodes))
                fitting = [place for place in choices if low < place < high]
                fitting = _shared_out(fitting, links, number)
            guessed += len(fitting) != 1
            new_links[number][end] = names[(fitting or choices)[0]]
    kinds = ", ".join(
        f"{name!r} ({' and '.join(nodes[place]['feature_type'] for place in found)})"
        for name, found in twice.items()
    )
    sure = f"{guessed} of them could not be told apart and go to the first node"
    note = (
        f"{len(twice)} ids stood for several nodes: {kinds}. Later ones were renamed with '#2' and "
        "so on; links were given to the node that their order in the file names, "
        f"{sure if guessed else 'all of them surely'}."
    )
    return renamed, new_links, [note]


def _neighbour(
    links: Sequence[Mapping[str, Any]],
    places: Mapping[str, Sequence[int]],
    number: int,
    *,
    step: int,
    missing: int,
) -> int:
    """The place of the nearest source before or behind a link whose id stands for one node."""
    at = number + step
    while 0 <= at < len(links) and links[at]["target"] == links[number]["target"]:
        found = places[links[at]["source"]]
        if len(found) == 1:
            return found[0]
        at += step
    return missing


def _shared_out(fitting: list[int], links: Sequence[Mapping[str, Any]], number: int) -> list[int]:
    """One place to each where a link is there as often as places fit."""
    pair = (links[number]["source"], links[number]["target"])
    same = [at for at, link in enumerate(links) if (link["source"], link["target"]) == pair]
    return [fitting[same.index(number)]] if len(fitting) == len(same) else fitting


def _added_up(links: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """One link from a node to another."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for link in links:
        pair = (link["source"], link["target"])
        if pair in found:
            found[pair] = {**found[pair], "weight": found[pair]["weight"] + link["weight"]}
        else:
            found[pair] = link
    if len(found) == len(links):
        return list(links), []
    return list(found.values()), [f"{len(links) - len(found)} repeated links were added up."]


def _row(
    node: Mapping[str, Any],
    tokens: Sequence[str],
    nodes: Sequence[Mapping[str, Any]],
    *,
    is_paired: bool,
) -> dict[str, Any]:
    kind, layer, position = _kind(node), _layer(node), int(node["ctx_idx"])
    if kind == METRIC:
        site, layer = "", 1 + max((_layer(one) for one in nodes if _kind(one) != METRIC), default=0)
    elif kind in ("token", "bias"):
        site = TOKEN_HOOK if kind == "token" else ""
    else:
        is_attention = node["feature_type"] in _ATTENTION
        site = hook_of(layer, "attn_out" if is_attention else "mlp_out")
    activation = node.get("token_prob") if kind == METRIC else node.get("activation")
    return {
        "node": node["node_id"],
        "site": site,
        "layer": layer,
        "kind": kind,
        "feature": _feature(node, is_paired=is_paired) if kind == "feature" else None,
        "position": position,
        "span": str(position),
        "token": tokens[position],
        "activation": activation,
    }


def _feature(node: Mapping[str, Any], *, is_paired: bool) -> int | None:
    number = node["feature"]
    if is_paired and number is not None and number >= 0:
        layer, feature = uncantor(int(number))
        if layer == _layer(node):
            return feature
    named = node["node_id"].split("#")[0].split("_")
    if len(named) == 3 and named[1].isdecimal():
        return int(named[1])
    return None if number is None else int(number)


def _kind(node: Mapping[str, Any]) -> str:
    return _KINDS.get(node["feature_type"], "feature")


def _layer(node: Mapping[str, Any]) -> int:
    return int(node["layer"]) if str(node["layer"]).isdecimal() else -1


def _rank(node: Mapping[str, Any]) -> tuple[bool, float]:
    """Logits first, then by influence, the important ones first."""
    influence = node.get("influence")
    return node["feature_type"] != LOGIT, math.inf if influence is None else float(influence)


def _is_reader(node: Mapping[str, Any]) -> bool:
    return _kind(node) in ("feature", METRIC)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "'"
    return name
