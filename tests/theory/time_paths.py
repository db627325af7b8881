"""CPU seconds of the 1,000 best paths on graphs of 100,000 edges, as docs/paths.md prints them.

python -m tests.theory.time_paths
"""

import sys
import time

from saecircuits.theory.best_paths import Sign, strongest_paths
from tests.theory.graphs import SHAPES, layered_graph


def main() -> None:
    """Prints a Markdown table, the best of three runs to a figure."""
    lines = [
        "| graph | nodes | links of a path | either sign | positive |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, shape in SHAPES.items():
        graph = layered_graph(n_link=100_000, **shape)
        signs: tuple[Sign, ...] = ("either", "positive")
        seconds, length = [], 0.0
        for sign in signs:
            times = []
            for _ in range(3):
                started = time.process_time()
                found = strongest_paths(*graph.search(), end=graph.n_node - 1, k=1000, sign=sign)
                times.append(time.process_time() - started)
                length = sum(len(path.links) for path in found) / len(found)
            seconds.append(min(times))
        figures = " | ".join(f"{value:.2f}" for value in seconds)
        lines.append(
            f"| {name}: {shape['n_layer']} layers of {shape['width']} | {graph.n_node:,} | "
            f"{length:.0f} | {figures} |"
        )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
