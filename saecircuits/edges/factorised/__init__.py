"""Direct effects without autograd, exact and many times faster than the reference; see `engine`."""

from saecircuits.edges.factorised.engine import FactorisedEdges as FactorisedEdges
from saecircuits.edges.factorised.engine import covers as covers
from saecircuits.splicing.anatomy import NotCoveredError as NotCoveredError
