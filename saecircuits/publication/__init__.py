"""Publication: a run's folder, automatic labels, the picture and the card.

Read `publish` for the way through, `folder` for what a run's folder holds.
"""

from saecircuits.publication.card import write_card as write_card
from saecircuits.publication.crate import write_crate as write_crate
from saecircuits.publication.dashboard_making import describe_features as describe_features
from saecircuits.publication.dashboards import Dashboard as Dashboard
from saecircuits.publication.dashboards import read_dashboards as read_dashboards
from saecircuits.publication.drawing import Figure as Figure
from saecircuits.publication.drawing import draw as draw
from saecircuits.publication.drawing import groups_of as groups_of
from saecircuits.publication.drawing import replace_figure as replace_figure
from saecircuits.publication.figure import draw_figure as draw_figure
from saecircuits.publication.files import plain as plain
from saecircuits.publication.folder import nothing_left_behind as nothing_left_behind
from saecircuits.publication.folder import open_folder as open_folder
from saecircuits.publication.folder import run_identity as run_identity
from saecircuits.publication.grouping import Group as Group
from saecircuits.publication.grouping import read_groups as read_groups
from saecircuits.publication.grouping import suggest_groups as suggest_groups
from saecircuits.publication.human_labels import add_label as add_label
from saecircuits.publication.human_labels import read_human_labels as read_human_labels
from saecircuits.publication.interchange import GraphFile as GraphFile
from saecircuits.publication.interchange import check_graph as check_graph
from saecircuits.publication.interchange import export as export
from saecircuits.publication.interchange import read_graph_file as read_graph_file
from saecircuits.publication.labels import label_features as label_features
from saecircuits.publication.notebook import Page as Page
from saecircuits.publication.notebook import show as show
from saecircuits.publication.notebook import widget as widget
from saecircuits.publication.publish import describe_task as describe_task
from saecircuits.publication.publish import publish as publish
from saecircuits.publication.reading import StoredRun as StoredRun
from saecircuits.publication.reading import page_in_frame as page_in_frame
from saecircuits.publication.reading import read_circuit as read_circuit
from saecircuits.publication.reading import read_graph as read_graph
from saecircuits.publication.reading import read_labels as read_labels
from saecircuits.publication.reading import read_labels_if_any as read_labels_if_any
from saecircuits.publication.reading import read_paths as read_paths
from saecircuits.publication.reading import read_record as read_record
from saecircuits.publication.reading import read_report as read_report
from saecircuits.publication.reading import read_run as read_run
from saecircuits.publication.records import CircuitRecord as CircuitRecord
from saecircuits.publication.records import Example as Example
from saecircuits.publication.records import FeatureLabel as FeatureLabel
from saecircuits.publication.records import TaskRecord as TaskRecord
from saecircuits.publication.routes import labels_by_node as labels_by_node
from saecircuits.publication.texts import Contexts as Contexts
from saecircuits.publication.texts import generate_text as generate_text
from saecircuits.publication.texts import generated_contexts as generated_contexts
from saecircuits.publication.texts import read_contexts as read_contexts
from saecircuits.publication.writing import write_circuit as write_circuit
from saecircuits.publication.writing import write_graph as write_graph
from saecircuits.publication.writing import write_labels as write_labels
from saecircuits.publication.writing import write_paths as write_paths
from saecircuits.publication.writing import write_report as write_report
