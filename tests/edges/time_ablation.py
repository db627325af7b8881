"""CPU time of edge ablation over that of a forward pass, as docs/concepts.md prints it.

python -m tests.edges.time_ablation
"""

import sys
import time
from collections.abc import Callable

import torch

import saecircuits as sc
from saecircuits.circuits.measuring import Measured
from saecircuits.edges.ablation import ablate_edges, wire
from saecircuits.edges.graph import METRIC, parse_node_id


def _seconds(work: Callable[[], object], times: int) -> float:
    """The least of some runs, after one that does not count."""
    work()
    found = []
    for _ in range(times):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


def main() -> None:
    """Prints the nodes, the edges, and the ratio, for 32 prompts of `pronoun` on one thread."""
    torch.set_num_threads(1)
    model = sc.load_model("stories")
    task = sc.load_task("pronoun", model, limit=32)
    circuit = sc.prune(sc.attribute(model, task.train), nodes=200)
    measured = Measured(sc.attribute(model, task.train, max_nodes=1))
    (contrast,) = measured.batches

    def spot(node: str) -> object:
        return None if node == METRIC else parse_node_id(model, measured.units, node)

    ends = zip(circuit.edges["source"], circuit.edges["target"], strict=True)
    wiring = wire((spot(source), spot(target)) for source, target in ends)  # pyright: ignore
    with torch.no_grad():
        forward = _seconds(lambda: model.forward(contrast.tokens), 20)
    ablation = _seconds(lambda: ablate_edges(contrast, [wiring]), 5)
    sys.stdout.write(
        f"{circuit.size} nodes, {len(circuit.edges):,} edges: {ablation:.2f} CPU s, a forward pass "
        f"of {len(contrast.tokens)} prompts {forward:.4f}: {ablation / forward:.1f} passes\n"
    )


if __name__ == "__main__":
    main()
