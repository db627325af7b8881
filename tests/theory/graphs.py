"""Random acyclic graphs, and every one of their paths by plain enumeration."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Of `layered_graph`: few long layers, as many as a large model has sites, and a thread.
SHAPES = {
    "wide": {"n_layer": 6, "width": 500, "reach": 5},
    "usual": {"n_layer": 24, "width": 60, "reach": 8},
    "deep": {"n_layer": 500, "width": 8, "reach": 4},
}


@dataclass(frozen=True)
class RandomGraph:
    """Links in forward order of their sources, some of them parallel, and starts at some nodes."""

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    weight: NDArray[np.float64]
    start: NDArray[np.float64]

    @property
    def n_node(self) -> int:
        return len(self.start)

    def search(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.source, self.target, self.weight, self.start

    def paths(self, end: int) -> Iterator[tuple[float, tuple[int, ...]]]:
        """Effect and links of every path to `end`, by walking backwards from it."""

        def before(node: int, product: float, links: tuple[int, ...]):
            if links and self.start[node] != 0:
                yield self.start[node] * product, links
            for link in np.nonzero(self.target == node)[0]:
                source = int(self.source[link])
                yield from before(source, product * self.weight[link], (int(link), *links))

        yield from before(end, 1.0, ())


def random_graph(seed: int, *, n_node: int = 13, n_link: int = 41) -> RandomGraph:
    """Weights of both signs over two orders of magnitude, some of them zero, one start in two."""
    draw = np.random.default_rng(seed)
    ends = np.sort(
        np.stack([draw.choice(n_node, size=2, replace=False) for _ in range(n_link)]), axis=1
    )
    weight = draw.normal(size=n_link) * 10 ** draw.uniform(-1, 1, size=n_link)
    weight[draw.random(n_link) < 0.1] = 0.0
    start = draw.normal(size=n_node) * (draw.random(n_node) < 0.5)
    start[0] = 1.5
    return RandomGraph(ends[:, 0], ends[:, 1], weight, start)


def layered_graph(
    *, n_layer: int, width: int, n_link: int, reach: int, seed: int = 0
) -> RandomGraph:
    """Layers of nodes and one sink; links go up by at most `reach` layers. Starts in layer 0."""
    draw = np.random.default_rng(seed)
    n_node = n_layer * width + 1
    low = draw.integers(0, n_layer, size=n_link)
    high = low + draw.integers(1, reach + 1, size=n_link)
    source = low * width + draw.integers(0, width, size=n_link)
    target = np.minimum(high * width + draw.integers(0, width, size=n_link), n_node - 1)
    weight = draw.normal(size=n_link) * np.exp(draw.normal(size=n_link)) / 5
    start = np.zeros(n_node)
    start[:width] = draw.normal(size=width)
    return RandomGraph(source, target, weight, start)
