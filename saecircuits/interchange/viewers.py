"""The attribution-graph JSON, for the two viewers that are known to read it.

The format was made for transcoders: one dictionary a layer, one token a column, and logits with
probabilities. What of a circuit does not fit is stated in the file (`lost`) and kept in our own
fields. Conventions that the format's schema does not state, and every way in which a file that
follows it still breaks a viewer, are in `checks`.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlencode

from saecircuits.interchange.graph_file import GraphFile, layers_of, plain_name, short_name
from saecircuits.interchange.own import OWN, own_edges, own_nodes, own_record
from saecircuits.nodes.names import METRIC
from saecircuits.runs.phrases import faithfulness_phrase, pair_phrase
from saecircuits.runs.storage import plain, to_json
from saecircuits.runs.writing import version_of
from saecircuits.shown_text import visible
from saecircuits.tasks.prepending import recorded

Viewer: TypeAlias = Literal["neuronpedia", "circuit-tracer"]
BOS: Final = "<bos>"
NOTHING: Final = "(nothing)"
LOGIT: Final = "logit"
FEATURE_TYPES: Final = {
    "feature": "cross layer transcoder",
    "error": "mlp reconstruction error",
    "token": "embedding",
    METRIC: LOGIT,
}
# Where the local viewer's server serves the bundle's folder, and in it the features.
_LOCAL_FEATURES: Final = "local_features"
LOCAL_SCAN: Final = f"./data/{_LOCAL_FEATURES}"
_UNKNOWN_TOKEN: Final = "\u2026"
_LOST: Final = (
    "Layers are numbers of dictionaries in forward order, from 1, because several may sit in one "
    "block; `layers` names their sites.",
    "Columns are what is prepended (BOS, if it is not said) and the units of the circuit (spans or "
    "positions), each with its commonest text.",
    "All features are typed as of transcoders and all error nodes as of MLPs, whatever they read.",
    "The metric stands as one logit node; its p is sigmoid(metric on the clean prompts), the "
    "probability of the answer against the wrong one alone.",
    "`influence` orders nodes by |effect|, which is not the viewers' own influence.",
    "Intervals, baselines and the components of edges are shown by no viewer.",
    "Dashboards on Neuronpedia are looked up by layer number: for a model with dashboards there, "
    "they are those of other dictionaries.",
)


def viewer_document(graph: GraphFile, viewer: Viewer = "neuronpedia") -> dict[str, Any]:
    """The graph as attribution-graph JSON; one read from such a file comes back as it was."""
    if graph.document is not None:
        return dict(graph.document)
    layers = layers_of(graph.circuit)
    rows = own_nodes(graph)
    ids = {row["node"]: _viewer_id(row, layers) for row in rows}
    texts = _texts(graph, viewer)
    nodes = [_node(row, ids[row["node"]], layers, graph, texts[row["node"]]) for row in rows]
    links = [
        {
            "source": ids[edge["source"]],
            "target": ids[edge["target"]],
            "weight": edge["effect"],
            OWN: {key: value for key, value in edge.items() if key not in ("source", "target")},
        }
        for edge in own_edges(graph)
    ]
    return {
        "metadata": _metadata(graph, viewer),
        "qParams": {
            "linkType": "both",
            "pinnedIds": [ids[node] for node in graph.pins],
            "supernodes": [
                [group.label, *(ids[node] for node in group.nodes)] for group in graph.groups
            ],
            "clickedId": "",
            "sg_pos": "",
        },
        "nodes": nodes,
        "links": links,
        OWN: plain(own_record(graph, layers=layers, lost=_LOST)),
    }


def viewer_bundle(
    graph: GraphFile, dashboards: Mapping[tuple[str, int], Mapping[str, Any]]
) -> dict[str, bytes]:
    """The files of a folder that circuit-tracer's own server serves, by name.

    Args:
        dashboards: of features, by site and index, in the feature-details format.
    """
    document = viewer_document(graph, "circuit-tracer")
    slug = document["metadata"]["slug"]
    layers = layers_of(graph.circuit) if graph.document is None else {}
    files = {
        "graph-metadata.json": to_json({"graphs": [document["metadata"]]}),
        f"{slug}.json": to_json(document, indent=None),
        "url.txt": f"{viewer_url(document)}\n".encode(),
    }
    for (site, feature), dashboard in dashboards.items():
        if site in layers:
            number = cantor(layers[site], feature)
            content = {**plain(dashboard), "index": number}
            files[f"{_LOCAL_FEATURES}/{number}.json"] = to_json(content, indent=None)
    return files


def viewer_url(document: Mapping[str, Any]) -> str:
    """What opens the graph in circuit-tracer's viewer with its pins and groups.

    That viewer takes groups from its address alone, and leaves out those of the file.
    """
    asked = document["qParams"]
    given = {
        "slug": document["metadata"]["slug"],
        "pinnedIds": ",".join(asked.get("pinnedIds") or ()),
        "supernodes": to_json(asked.get("supernodes") or [], indent=None).decode().strip(),
    }
    return f"http://localhost:8032/index.html?{urlencode(given)}"


def cantor(layer: int, feature: int) -> int:
    """The number of a feature in files of schema version 1."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature


def uncantor(number: int) -> tuple[int, int]:
    """Layer and feature: the inverse of `cantor`."""
    diagonal = (math.isqrt(8 * number + 1) - 1) // 2
    feature = number - diagonal * (diagonal + 1) // 2
    return diagonal - feature, feature


def _viewer_id(row: Mapping[str, Any], layers: Mapping[str, int]) -> str:
    position = row["position"] + 1  # what is prepended is the first column
    match row["kind"]:
        case "feature":
            return f"{layers[row['site']]}_{row['feature']}_{position}"
        case "error":
            return f"0_{layers[row['site']]}_{position}"
        case "token":
            return f"E_{position}_{position}"
        case _:
            return f"{len(layers) + 1}_0_{position}"


def _node(
    row: Mapping[str, Any],
    node_id: str,
    layers: Mapping[str, int],
    graph: GraphFile,
    text: str,
) -> dict[str, Any]:
    kind = row["kind"]
    layer = layers.get(row["site"], len(layers) + 1)
    is_metric = kind == METRIC
    number = {"feature": lambda: cantor(layer, row["feature"]), "error": lambda: -1}
    stem, _, column = node_id.rpartition("_")
    return {
        "node_id": node_id,
        "feature": number.get(kind, lambda: 0 if is_metric else row["position"] + 1)(),
        "layer": "E" if kind == "token" else str(layer),
        "ctx_idx": row["position"] + 1,
        "feature_type": FEATURE_TYPES[kind],
        "token_prob": _sigmoid(row["activation"]) if is_metric else 0,
        "is_target_logit": is_metric,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "jsNodeId": f"{stem}-{column}",
        "clerp": text,
        "influence": graph.influence.get(row["node"]),
        "activation": row["activation"] if kind == "feature" else None,
        OWN: dict(row),
    }


def _texts(graph: GraphFile, viewer: Viewer) -> dict[str, str]:
    """What a viewer writes at each node."""
    texts = {}
    for row in own_nodes(graph):
        match row["kind"]:
            case "feature":
                label = graph.labels.get(row["node"])
                text = short_name(row)
                if label is not None:
                    text = f"{visible(label.text)} \u00b7 {text}"
            case "error":
                text = f"Err: {short_name(row)} {_quoted(row['token'])}"
            case "token":
                text = f"Emb: {_quoted(row['token'])}"
            case _:
                asked = graph.task.example if graph.task is not None else None
                words = (
                    f"{_quoted(asked.answer[0])} against {_quoted(asked.wrong[0])}"
                    if asked is not None and asked.answer and asked.wrong
                    else _quoted(METRIC)
                )
                # Viewers read the probability behind the first "(p=".
                text = f"Output {words} (p={_sigmoid(row['activation']):.3f})"
        if viewer == "circuit-tracer":
            # It writes labels as markup.
            text = text.replace("<", "\u2039").replace(">", "\u203a")
        texts[row["node"]] = text
    return texts


def _metadata(graph: GraphFile, viewer: Viewer) -> dict[str, Any]:
    circuit = graph.circuit
    model = str(circuit.provenance.get("model", "model"))
    tokens = _tokens(graph)
    asked = graph.task
    words = [] if asked is None else [asked.description, pair_phrase(asked.example)]
    return {
        "slug": graph.slug,
        "scan": LOCAL_SCAN if viewer == "circuit-tracer" else plain_name(model),
        "prompt_tokens": tokens,
        "prompt": "".join(tokens[1:]) if asked is None else asked.example.clean,
        "node_threshold": 1.0,
        "schema_version": 1,
        "info": {
            "description": " ".join([*words, faithfulness_phrase(graph.report), *_LOST]),
            "generator": {"name": OWN, "version": version_of(OWN)},
        },
        "generation_settings": plain(circuit.settings.model_dump(mode="json")),
        "pruning_settings": plain(circuit.selection),
    }


def _tokens(graph: GraphFile) -> list[str]:
    nodes = graph.circuit.nodes
    texts = dict(zip(nodes["position"].tolist(), nodes["token"].tolist(), strict=True))
    count = max(texts, default=-1) + 1
    front = recorded(graph.circuit.provenance)
    first = BOS if front is None or front.is_own else front.token or NOTHING
    return [first, *(texts.get(position) or _UNKNOWN_TOKEN for position in range(count))]


def _quoted(token: str) -> str:
    plain_text = visible(token).replace('"', "\u201d").replace("(p=", "(p =")
    return f'"{plain_text}"'


def _sigmoid(value: float | None) -> float:
    if value is None:
        return 0.0
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
