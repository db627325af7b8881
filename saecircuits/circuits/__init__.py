"""Circuits: what is kept of a graph, and how it was chosen."""

from saecircuits.circuits.circuit import Circuit as Circuit
from saecircuits.circuits.circuit import parts_of as parts_of
from saecircuits.circuits.compare import Comparison as Comparison
from saecircuits.circuits.compare import compare as compare
from saecircuits.circuits.path_degrees import path_degrees as path_degrees
from saecircuits.circuits.paths import Routes as Routes
from saecircuits.circuits.paths import check_routes as check_routes
from saecircuits.circuits.paths import paths as paths
from saecircuits.circuits.prune import check_choice as check_choice
from saecircuits.circuits.prune import prune as prune
