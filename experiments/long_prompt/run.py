"""What a long prompt costs: `python -m experiments.long_prompt.run --tokens 2048 --limit 3GB`.

A random model of the shipped model's shape (4 layers of 128, 4 heads) with TopK dictionaries of
1,024 features on the stream, 20 active per token. Every feature that has an effect is a source of
edges; targets are those of |effect| at or above the threshold. Prints one JSON object with the peak
of the whole process, libraries included.
"""

import argparse
import json
import resource
import sys
import time
from typing import Any

import saecircuits as sc
from experiments.bench.sizes import Size, load_random


def measure(n_tokens: int, limit: str, threshold: float) -> dict[str, Any]:
    """Attributes one prompt pair: time, peak memory of the process, and how much was computed."""
    size = Size(
        name="long",
        source="the shipped model's shape",
        family="gpt2",
        n_layers=4,
        d_model=128,
        n_heads=4,
        d_mlp=512,
        d_vocab=3072,
        d_sae=1024,
        active=20,
        n_tokens=n_tokens - 1,
    )
    loaded = load_random(size)
    loaded_peak, begun = _peak(), time.process_time()
    graph = sc.attribute(
        loaded.model,
        loaded.prompts,
        positions="each",
        max_nodes=None,
        target_threshold=threshold,
        memory_limit=limit,
    )
    return {
        "tokens": n_tokens,
        "limit": limit,
        "cpu_seconds": round(time.process_time() - begun, 1),
        "peak_bytes_loaded": loaded_peak,
        "peak_bytes": _peak(),
        "sources": graph.summary["edge_nodes"],
        "targets": int((graph.nodes["effect"].abs() >= threshold).sum()) - 1,
        "edges_computed": graph.summary["edges_computed"],
        "edges_kept": len(graph.edges),
    }


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(arguments: list[str] | None = None) -> None:
    """Attributes one prompt pair and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--limit", default="3GB")
    parser.add_argument("--threshold", type=float, default=2e-5)
    chosen = parser.parse_args(arguments)
    print(json.dumps(measure(chosen.tokens, chosen.limit, chosen.threshold), indent=2))


if __name__ == "__main__":
    main()
