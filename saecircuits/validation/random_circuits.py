"""Random circuits to compare with: the same number of nodes at every site, drawn at random."""

import numpy as np

from saecircuits.circuits import Circuit


def random_circuits(circuit: Circuit, *, count: int, seed: int = 0) -> tuple[tuple[str, ...], ...]:
    """Sets of node ids with the circuit's size and its number of nodes at every site.

    Drawn without replacement from the graph's candidates: nodes that differ from their baseline
    on some prompt, so that a random circuit is not merely one of silent features.
    """
    generator = np.random.default_rng(seed)
    pools: dict[str, list[str]] = {}
    for node in circuit.candidates:
        pools.setdefault(site_of(node), []).append(node)
    wanted: dict[str, int] = {}
    for node in circuit.members:
        wanted[site_of(node)] = wanted.get(site_of(node), 0) + 1
    return tuple(
        tuple(
            str(node)
            for site, size in sorted(wanted.items())
            for node in generator.choice(pools[site], size=size, replace=False)
        )
        for _ in range(count)
    )


def site_of(node: str) -> str:
    """The hook name in a node's id."""
    return node.partition("@")[0].rpartition(".")[0]
