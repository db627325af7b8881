"""Prints circuit-tracer's replacement and completeness scores, in its environment (README.md).

    python scores.py [GRAPH.json ...]

of the two graphs beside this file, and of attribution graphs in files as Neuronpedia has them.
"""

# Of other libraries, and other versions, than those that types are checked with.
# pyright: reportMissingImports=false, reportArgumentType=false

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from circuit_tracer.graph import compute_graph_scores
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
_KINDS = {"embedding": "token", "logit": "logit", "mlp reconstruction error": "error"}


def scores(rows, *, n_feature, n_token, n_layer, weights):
    """Of an adjacency in circuit-tracer's order: features, errors, tokens, logits."""
    return compute_graph_scores(
        SimpleNamespace(
            adjacency_matrix=rows,
            selected_features=range(n_feature),
            input_tokens=range(n_token),
            cfg=SimpleNamespace(n_layers=n_layer),
            logit_targets=weights,
            logit_probabilities=torch.tensor(weights),
        )
    )


def of_graph(name: str, weights: list[float]):
    """Of a graph beside this file, its logits weighted so."""
    graph = load_file(HERE / name / "graph.safetensors")
    found = graph["adjacency"].double()
    n_node, n_feature = found.shape[1], len(graph["active_features"])
    rows = found.new_zeros(n_node, n_node)
    rows[:n_feature], rows[-2:] = found[:n_feature], found[-2:]
    sizes = {"n_feature": n_feature, "n_token": len(graph["tokens"]), "n_layer": 3}
    return scores(rows, **sizes, weights=weights)


def of_file(path: str):
    """Of an attribution graph in a file, its logits weighted by their probability."""
    document = json.loads(Path(path).read_text(encoding="utf-8"))
    kinds = [_KINDS.get(node["feature_type"], "feature") for node in document["nodes"]]
    n_token = kinds.count("token")
    n_layer = -(-kinds.count("error") // n_token)
    # As many errors as layers times tokens: those that are missing have no links.
    starts = {"feature": 0, "error": kinds.count("feature")}
    starts["token"] = starts["error"] + n_layer * n_token
    starts["logit"] = starts["token"] + n_token
    number, weights = {}, []
    for node, kind in zip(document["nodes"], kinds, strict=True):
        assert node["node_id"] not in number, f"two nodes are called {node['node_id']}"
        number[node["node_id"]] = starts[kind]
        starts[kind] += 1
        weights += [node["token_prob"]] if kind == "logit" else []
    rows = torch.zeros(starts["logit"], starts["logit"])
    for link in document["links"]:
        rows[number[link["target"]], number[link["source"]]] = link["weight"]
    sizes = {"n_feature": kinds.count("feature"), "n_token": n_token, "n_layer": n_layer}
    return scores(rows, **sizes, weights=weights)


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    for name in ("gpt2", "llama"):
        for weights in ([0.5, 0.5], [0.75, 0.25]):
            sys.stdout.write(f"{name} {weights}: {of_graph(name, weights)}\n")
    for path in sys.argv[1:]:
        sys.stdout.write(f"{Path(path).name}: {of_file(path)}\n")
