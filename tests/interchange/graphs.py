"""Small graphs of the attribution-graph format, as other programs write them, and real ones."""

from pathlib import Path
from typing import Any

import pytest

from saecircuits.interchange.viewers import cantor

# Beside the checkout, where there is one; never part of it.
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "interchange"
REAL = ("meow-clt", "dallas-austin", "dollar")


def shared(name: str) -> Path:
    """A file of the shared folder; the test is skipped where there is none."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here: real graphs and schemas lie beside the checkout")
    return path


def node(
    node_id: str, layer: str, feature: int, ctx: int, kind: str, **others: object
) -> dict[str, Any]:
    """A node with every required key."""
    return {
        "node_id": node_id,
        "feature": feature,
        "layer": layer,
        "ctx_idx": ctx,
        "feature_type": kind,
        "jsNodeId": f"{node_id}-0",
        "clerp": "a label",
        "influence": 0.5,
        "activation": None,
        **others,
    }


def foreign() -> dict[str, Any]:
    """Two layers, three tokens: E -> two features -> a feature and an error -> two logits."""
    features = [
        node("0_2_1", "0", cantor(0, 2), 1, "cross layer transcoder", activation=1.5),
        node("0_7_2", "0", cantor(0, 7), 2, "cross layer transcoder", influence=0.25),
        node("1_3_2", "1", cantor(1, 3), 2, "cross layer transcoder", clerp='said "x" <b>'),
    ]
    nodes = [
        *features,
        node("0_1_1", "1", -1, 1, "mlp reconstruction error", influence=0.75),
        node("E_5_1", "E", 1, 1, "embedding", influence=1.0),
        node("2_4_2", "2", 4, 2, "logit", influence=None, token_prob=0.5,
             clerp='Output " yes" (p=0.500)'),
        node("2_9_2", "2", 9, 2, "logit", influence=None, token_prob=0.25,
             clerp='Output " no" (p=0.250)'),
    ]  # fmt: skip
    links = [
        ("E_5_1", "0_2_1", 2.0),
        ("E_5_1", "0_7_2", -1.0),
        ("0_2_1", "1_3_2", 0.5),
        ("0_7_2", "1_3_2", 1.25),
        ("1_3_2", "2_4_2", 3.0),
        ("0_1_1", "2_4_2", -0.5),
        ("1_3_2", "2_9_2", -2.0),
    ]
    return {
        "metadata": {
            "slug": "yes-no",
            "scan": "some-model",
            "prompt_tokens": ["<bos>", "is", " it"],
            "prompt": "<bos>is it",
            "node_threshold": 1.0,
            "schema_version": 1,
        },
        "qParams": {
            "linkType": "both",
            "pinnedIds": ["1_3_2"],
            "clickedId": "1_3_2",
            "supernodes": [["both", "0_2_1", "0_7_2"]],
            "sg_pos": "",
        },
        "nodes": nodes,
        "links": [{"source": a, "target": b, "weight": w} for a, b, w in links],
    }


def with_shared_id() -> dict[str, Any]:
    """The same with error ids as circuit-tracer writes them: that of layer 2 is a feature's."""
    graph = foreign()
    error = node("0_2_1", "2", -1, 1, "mlp reconstruction error", influence=0.9)
    graph["nodes"].insert(4, error)
    # Sources in the order of the nodes: behind 0_1_1 (place 3), 0_2_1 is the error (place 4).
    graph["links"] = [
        {"source": a, "target": b, "weight": w}
        for a, b, w in [
            ("E_5_1", "0_2_1", 2.0),
            ("0_2_1", "1_3_2", 0.5),
            ("0_7_2", "1_3_2", 1.25),
            ("1_3_2", "2_4_2", 3.0),
            ("0_1_1", "2_4_2", -0.5),
            ("0_2_1", "2_4_2", 7.0),
            ("0_2_1", "2_9_2", 8.0),
            ("1_3_2", "2_9_2", -2.0),
            ("0_2_1", "2_9_2", 9.0),
        ]
    ]
    return graph
