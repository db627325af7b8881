"""`publish`: a circuit and its report as a folder that others can read, check and repeat."""

from collections.abc import Sequence
from pathlib import Path

from saecircuits.circuits import Circuit, Routes
from saecircuits.edges.graph import AttributionGraph
from saecircuits.edges.settings import AttributionSettings
from saecircuits.errors import InputError, RunFolderError
from saecircuits.features.dashboard_making import describe_features
from saecircuits.features.dashboards import Dashboard
from saecircuits.features.labels import FeatureLabel
from saecircuits.features.looks import looks_of_heads
from saecircuits.features.texts import Contexts, generated_contexts
from saecircuits.publication.contents import Contents
from saecircuits.publication.drawing import Groups, groups_of
from saecircuits.publication.views import write_views
from saecircuits.runs.degrees import degrees_of, write_degrees
from saecircuits.runs.feature_files import write_dashboards, write_labels
from saecircuits.runs.folder import is_run
from saecircuits.runs.opening import open_folder, run_identity
from saecircuits.runs.records import describe_task, read_record
from saecircuits.runs.writing import circuit_digest, write_circuit, write_paths, write_report
from saecircuits.splicing import SplicedModel, require_same_model
from saecircuits.tasks import Task
from saecircuits.tasks.prepending import prepend_of
from saecircuits.torch_state import in_own_state
from saecircuits.validation import ValidationReport


@in_own_state
def publish(
    circuit: Circuit,
    report: ValidationReport | None,
    folder: str | Path,
    *,
    graph: AttributionGraph | None = None,
    model: SplicedModel | None = None,
    task: Task | None = None,
    labels: Sequence[FeatureLabel] | None = None,
    dashboards: Sequence[Dashboard] = (),
    contexts: Contexts | None = None,
    routes: Routes | None = None,
    command: str | None = None,
    licence: str | None = None,
    groups: Groups = "suggested",
    overwrite: bool = False,
    resume: bool = False,
) -> Path:
    """The folder, holding the run: tables, record, report, labels, dashboards, picture, page, card.

    A folder that holds the graph which the circuit comes from, or the same circuit, is completed.
    Equal inputs give byte-identical files; every file is complete or not there.

    Args:
        report: from `validate`; None publishes a circuit that says it was not validated.
        graph: what the circuit was chosen from; without it the tables hold the circuit alone.
        model: labels the features and makes their dashboards (see `describe_features`), and
            spells out the task's answers.
        task: what was asked; needs the model.
        labels, dashboards: from `describe_features`, instead of having them made here. Labels that
            people wrote into the folder take the place of automatic ones in card and picture.
        contexts: the text that features are looked at on; written by the model itself if None.
        routes: from `paths`, of the same graph.
        command: the command line that repeats the run.
        licence: of the run's files, for `ro-crate-metadata.json`.
        groups: of the picture, see `draw`.
        overwrite: remove a run that is there.
        resume: replace another circuit of the same graph that is there.

    Raises:
        RunFolderError: a folder that is in the way or cannot be written to; nothing is written.
        InputError: a graph that the circuit does not come from, another model than the circuit's,
            or a task without the model.
    """
    if model is not None:
        require_same_model(model, circuit.provenance, what="circuit")
    if task is not None and model is None:
        raise InputError("publish was given a task but no model to spell it out; give model too")
    if model is not None:
        # Texts are read as the circuit's prompts were.
        model = model.prepending(prepend_of(circuit.provenance, model.prepend))
    about = describe_task(task, model) if task is not None and model is not None else None
    name = about.name if about is not None else None
    # What cannot be drawn is refused before anything is written.
    groups_of(circuit, groups)
    path = _opened(folder, circuit, name, overwrite=overwrite, resume=resume)
    if labels is None:
        labels = ()
        if model is not None:
            text = contexts or _own_text(model, circuit.settings)
            prompts = None if task is None else task.train
            labels, dashboards = describe_features(model, circuit, text, prompts=prompts)
    write_circuit(path, circuit, graph=graph, task=about, command=command)
    write_labels(path, labels)
    write_dashboards(path, dashboards)
    write_report(path, report)
    write_paths(path, routes)
    looks, degrees = (), None
    if task is not None and model is not None:
        looks, degrees = looks_of_heads(model, task, circuit), degrees_of(model, task)
    write_degrees(path, degrees)
    contents = Contents(
        circuit=circuit,
        record=read_record(path),
        report=report,
        labels=labels,
        graph=graph,
        routes=routes,
        dashboards=dashboards,
        looks=looks,
        degrees=degrees,
        licence=licence,
    )
    write_views(path, contents, groups=groups)
    return path


def _own_text(model: SplicedModel, settings: AttributionSettings) -> Contexts:
    limit = int(settings.memory_limit)
    return generated_contexts(model, seed=settings.seed, memory_limit=limit)


def _opened(
    folder: str | Path, circuit: Circuit, task: str | None, *, overwrite: bool, resume: bool
) -> Path:
    """The folder, ready for this circuit."""
    identity = run_identity(circuit.settings, circuit.provenance, task)
    if overwrite or resume or not is_run(Path(folder)):
        return open_folder(folder, overwrite=overwrite, resume=resume, identity=identity)
    path = open_folder(folder, resume=True, identity=identity)
    found = read_record(path).circuit_digest
    if found is not None and found != circuit_digest(circuit):
        raise RunFolderError(
            f"{path} holds another circuit of the same graph; give resume=True to replace it, or "
            "choose another folder"
        )
    return path
