"""saecircuits: circuits whose nodes are SAE features - found, validated, published.

    model = load_model("stories")                       a model with dictionaries spliced in
    task = load_task("pronoun", model)                  prompt pairs; train and test never overlap
    graph = attribute(model, task.train)                effects of nodes and edges
    circuit = prune(graph, faithfulness=0.9)            the part that is kept
    report = validate(model, circuit, task.test)        what it does by itself, on held-out prompts
    publish(circuit, report, folder)                    a folder to open

`discover(model, task, folder)` does all of it. Names are looked up when first used, so that
importing the package is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

from saecircuits.kinds import checked as _checked

if TYPE_CHECKING:
    from saecircuits.circuits import Circuit as Circuit
    from saecircuits.circuits import Comparison as Comparison
    from saecircuits.circuits import Routes as Routes
    from saecircuits.circuits import compare as compare
    from saecircuits.circuits import path_degrees as path_degrees
    from saecircuits.circuits import paths as paths
    from saecircuits.circuits import prune as prune
    from saecircuits.discovery import Run as Run
    from saecircuits.discovery import discover as discover
    from saecircuits.edges.attribute import attribute as attribute
    from saecircuits.edges.engines import Engine as Engine
    from saecircuits.edges.estimators import Estimator as Estimator
    from saecircuits.edges.graph import AttributionGraph as AttributionGraph
    from saecircuits.edges.settings import AttributionSettings as AttributionSettings
    from saecircuits.errors import InputError as InputError
    from saecircuits.errors import SaecircuitsError as SaecircuitsError
    from saecircuits.expansion import Expansion as Expansion
    from saecircuits.expansion import expand as expand
    from saecircuits.expansion import treeify as treeify
    from saecircuits.heads import attention as attention
    from saecircuits.heads import composition as composition
    from saecircuits.interchange.exporting import export as export
    from saecircuits.interchange.exporting import read_graph_file as read_graph_file
    from saecircuits.interchange.graph_checks import check_graph as check_graph
    from saecircuits.interchange.graph_file import GraphFile as GraphFile
    from saecircuits.nodes.baselines import Baseline as Baseline
    from saecircuits.nodes.experiment import Experiment as Experiment
    from saecircuits.nonlinearity import Interactions as Interactions
    from saecircuits.nonlinearity import Linearity as Linearity
    from saecircuits.nonlinearity import interactions as interactions
    from saecircuits.nonlinearity import linearity as linearity
    from saecircuits.publication.drawing import Figure as Figure
    from saecircuits.publication.drawing import draw as draw
    from saecircuits.publication.notebook import Page as Page
    from saecircuits.publication.notebook import show as show
    from saecircuits.publication.notebook import widget as widget
    from saecircuits.publication.publish import publish as publish
    from saecircuits.runs.stored import read_run as read_run
    from saecircuits.splicing import SplicedModel as SplicedModel
    from saecircuits.splicing import splice as splice
    from saecircuits.splicing.cross_layer import CrossLayerTranscoder as CrossLayerTranscoder
    from saecircuits.splicing.cross_layer_folder import read_cross_layer as read_cross_layer
    from saecircuits.splicing.gates import Gate as Gate
    from saecircuits.splicing.loading import load_model as load_model
    from saecircuits.splicing.manifest_writing import write_manifest as write_manifest
    from saecircuits.splicing.shipped import model_names as model_names
    from saecircuits.tasks import Task as Task
    from saecircuits.tasks import load_task as load_task
    from saecircuits.tasks import task_names as task_names
    from saecircuits.validation import Baselines as Baselines
    from saecircuits.validation import Hypotheses as Hypotheses
    from saecircuits.validation import ValidationReport as ValidationReport
    from saecircuits.validation import baselines as baselines
    from saecircuits.validation import calibrate as calibrate
    from saecircuits.validation import hypotheses as hypotheses
    from saecircuits.validation import validate as validate

__version__ = "0.1.0"

_HOMES = {
    "AttributionGraph": "edges.graph",
    "AttributionSettings": "edges.settings",
    "Baseline": "nodes.baselines",
    "Baselines": "validation",
    "Circuit": "circuits",
    "Comparison": "circuits",
    "CrossLayerTranscoder": "splicing.cross_layer",
    "Expansion": "expansion",
    "Engine": "edges.engines",
    "Estimator": "edges.estimators",
    "Experiment": "nodes.experiment",
    "Figure": "publication.drawing",
    "Gate": "splicing.gates",
    "Hypotheses": "validation",
    "GraphFile": "interchange.graph_file",
    "InputError": "errors",
    "Routes": "circuits",
    "Interactions": "nonlinearity",
    "Linearity": "nonlinearity",
    "Page": "publication.notebook",
    "Run": "discovery",
    "SaecircuitsError": "errors",
    "SplicedModel": "splicing",
    "Task": "tasks",
    "ValidationReport": "validation",
    "attention": "heads",
    "attribute": "edges.attribute",
    "baselines": "validation",
    "calibrate": "validation",
    "check_graph": "interchange.graph_checks",
    "compare": "circuits",
    "composition": "heads",
    "discover": "discovery",
    "draw": "publication.drawing",
    "expand": "expansion",
    "hypotheses": "validation",
    "export": "interchange.exporting",
    "interactions": "nonlinearity",
    "linearity": "nonlinearity",
    "load_model": "splicing.loading",
    "load_task": "tasks",
    "model_names": "splicing.shipped",
    "path_degrees": "circuits",
    "paths": "circuits",
    "prune": "circuits",
    "publish": "publication.publish",
    "read_cross_layer": "splicing.cross_layer_folder",
    "read_graph_file": "interchange.exporting",
    "read_run": "runs.stored",
    "show": "publication.notebook",
    "splice": "splicing",
    "task_names": "tasks",
    "treeify": "expansion",
    "validate": "validation",
    "widget": "publication.notebook",
    "write_manifest": "splicing.manifest_writing",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'saecircuits' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"saecircuits.{_HOMES[name]}"), name)
    # A function's name leads to the function, which first looks at what it is given.
    return found if isinstance(found, type) else _checked(found)


def load_ipython_extension(ipython: Any) -> None:
    """What `%load_ext saecircuits` calls: notebooks then show circuits and graphs as pages."""
    importlib.import_module("saecircuits.publication.notebook").register(ipython)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
