"""Non-linearity: how members of a circuit act together, and how linear the model is."""

from saecircuits.nonlinearity.interactions import Interactions as Interactions
from saecircuits.nonlinearity.interactions import interactions as interactions
