"""Non-linearity: how members of a circuit act together, and how linear the model is."""

from saecircuits.nonlinearity.interactions import Interactions as Interactions
from saecircuits.nonlinearity.interactions import interactions as interactions
from saecircuits.nonlinearity.linearity import Linearity as Linearity
from saecircuits.nonlinearity.linearity import linearity as linearity
