"""Direct effects without autograd, exact and many times faster than the reference; see `engine`."""

from saecircuits.edges.factorised.checks import NotCoveredError as NotCoveredError
from saecircuits.edges.factorised.engine import EdgeParts as EdgeParts
from saecircuits.edges.factorised.engine import covers as covers
from saecircuits.edges.factorised.engine import factorised_edge_blocks as factorised_edge_blocks
from saecircuits.edges.factorised.engine import factorised_edge_parts as factorised_edge_parts
