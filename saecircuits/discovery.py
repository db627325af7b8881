"""`discover`: the whole story, from a model and a task to a folder that a person can open.

1. attribute: the effect of every node on the training prompts, and the edges among the strongest
2. prune:     the smallest circuit that is faithful on those prompts
3. paths:     the strongest ways through the graph, from tokens to the metric
4. calibrate: do the scores say what interventions say?
5. validate:  what the circuit does by itself on prompts that did not choose it
6. publish:   tables, record, labels, dashboards, paths, graph, picture, page and card

Every stage takes finished values of the one before. The folder holds complete files at any time;
a run that was interrupted goes on from the last complete stage, to the same result.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from saecircuits.choices import name_of
from saecircuits.circuits import Circuit, Routes, check_choice, paths, prune
from saecircuits.circuits.selection import Method
from saecircuits.edges.attribute import attribute
from saecircuits.edges.graph import AttributionGraph
from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import RunFolderError
from saecircuits.features.texts import Contexts
from saecircuits.nodes.baselines import BASELINES
from saecircuits.publication.grouping import suggest_groups
from saecircuits.publication.publish import publish
from saecircuits.runs.embedding import page_in_frame
from saecircuits.runs.folder import check_folder
from saecircuits.runs.opening import nothing_left_behind, open_folder, run_identity
from saecircuits.runs.records import describe_task
from saecircuits.runs.stored import read_graph
from saecircuits.runs.writing import write_graph
from saecircuits.splicing import SplicedModel
from saecircuits.tasks import Task
from saecircuits.torch_state import in_own_state
from saecircuits.validation import ValidationReport, calibrate, validate

Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Run:
    """What `discover` found, and where it lies."""

    graph: AttributionGraph
    circuit: Circuit
    report: ValidationReport
    routes: Routes
    folder: Path

    def _repr_html_(self) -> str | None:
        return page_in_frame(self.folder)


@in_own_state
def discover(
    model: SplicedModel,
    task: Task,
    folder: str | Path,
    *,
    settings: AttributionSettings | None = None,
    faithfulness: float = 0.85,
    nodes: int | None = None,
    edges: int | None = None,
    method: Method = "effect",
    with_errors: bool = True,
    thorough: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    command: str | None = None,
    contexts: Contexts | None = None,
    licence: str | None = None,
    progress: Callable[[str, float], None] = lambda stage, share: None,
) -> Run:
    """Finds a circuit on `task.train`, validates it on `task.test`, and publishes it.

    Args:
        settings: of the attribution; `AttributionSettings()` if None.
        faithfulness: wanted on the training prompts; the smallest circuit that reaches it is kept.
        nodes: keep this many nodes instead.
        edges: keep at most this many edges.
        method: how nodes are chosen, see `prune`.
        with_errors: False to keep no error nodes.
        thorough: validate under the other baselines too, and measure what each node adds; up to
            twice as long.
        overwrite: replace a run that the folder holds.
        resume: continue a run that the folder holds; it must be of the same model, task and
            settings.
        command: the command line, for the card.
        contexts: the text that features are looked at on, from `read_contexts` or
            `generated_contexts`; written by the model itself if None.
        licence: of the run's files, for their metadata.
        progress: called with a stage's name and the share done.

    Raises:
        RunFolderError: the folder holds a run or other files, or cannot be written.
        InputError: whatever the stages refuse; nothing is written then.
    """
    settings = settings or AttributionSettings()
    wanted = check_choice(method, nodes=nodes, edges=edges, faithfulness=faithfulness)
    check_folder(folder, overwrite=overwrite, resume=resume)
    provenance = {**model.describe(), "prompts": task.train.digest}
    with nothing_left_behind(folder):
        target = open_folder(
            folder,
            overwrite=overwrite,
            resume=resume,
            identity=run_identity(settings, provenance, task.name) if resume else None,
        )
        about = describe_task(task, model)
        graph = _stored_graph(target, model, task) if resume else None
        if graph is None:
            graph = attribute(model, task.train, settings=settings, progress=progress)
            write_graph(target, graph, task=about, command=command)
    progress("circuit", 0.0)
    circuit = prune(
        graph,
        nodes=nodes,
        edges=edges,
        faithfulness=wanted,
        method=method,
        with_errors=with_errors,
    )
    progress("paths", 0.0)
    routes = paths(graph)
    progress("calibration", 0.0)
    calibration = calibrate(graph.checked(None), graph)
    progress("validation", 0.0)
    others = [name for name in BASELINES if name != name_of(settings.baseline)]
    report = validate(
        model,
        circuit,
        task.test,
        baseline=[settings.baseline, *(others if thorough else ())],
        reference=task.train,
        with_drops=thorough,
        groups=[group.nodes for group in suggest_groups(circuit)],
    )
    progress("publication", 0.0)
    report = report.model_copy(update={"calibration": calibration})
    publish(
        circuit,
        report,
        target,
        graph=graph,
        model=model,
        task=task,
        routes=routes,
        command=command,
        contexts=contexts,
        licence=licence,
        resume=resume,
    )
    progress("done", 1.0)
    return Run(graph=graph, circuit=circuit, report=report, routes=routes, folder=target)


def _stored_graph(folder: Path, model: SplicedModel, task: Task) -> AttributionGraph | None:
    """The graph of an earlier, interrupted run; None if it did not come that far."""
    try:
        graph = read_graph(folder)
    except RunFolderError:
        return None
    return replace(graph, experiment=graph.on(model, task.train))
