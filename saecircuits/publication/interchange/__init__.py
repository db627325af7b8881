"""Interchange: circuits as files of other programs' formats, checked, and back.

Read `exporting` for the way through, `graph_file` for what travels.
"""

from saecircuits.publication.interchange.checks import check_graph as check_graph
from saecircuits.publication.interchange.exporting import TARGETS as TARGETS
from saecircuits.publication.interchange.exporting import export as export
from saecircuits.publication.interchange.exporting import read_graph_file as read_graph_file
from saecircuits.publication.interchange.findings import Finding as Finding
from saecircuits.publication.interchange.graph_file import GraphFile as GraphFile
from saecircuits.publication.interchange.graph_file import Group as Group
from saecircuits.publication.interchange.graph_file import Label as Label
from saecircuits.publication.interchange.networks import to_networkx as to_networkx
