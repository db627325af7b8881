"""The schemas of a run's JSON files: what is written, and what is accepted when read back.

Every model is frozen and refuses unknown keys, so a misspelt or foreign file is an error with the
key's name in it. Numbers that do not exist (an interval over one prompt) are null, never NaN.
"""

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from saecircuits.circuits import Routes
from saecircuits.edges.settings import AttributionSettings
from saecircuits.runs.folder import RECORD
from saecircuits.runs.storage import read_json
from saecircuits.schema import FORMAT, Count, Record, Sha256
from saecircuits.tasks import Reader, Task
from saecircuits.validation import ValidationReport

# What the numbers of every run mean, told in its record.
CONVENTIONS: Final = {
    "metric": "mean logit of the answers minus mean logit of the wrong ones, at the last token",
    "sign": "effect = metric with the node clean minus metric with it at its baseline",
    "ranking": "absolute mean effect over the training prompts, largest first",
}


class Example(Record):
    """One prompt pair, for readers; `answer` and `wrong` are tokens, leading spaces included."""

    clean: str
    corrupted: str
    answer: tuple[str, ...]
    wrong: tuple[str, ...]


class TaskRecord(Record):
    """What was asked.

    Attributes:
        digest: sha256 over the prompts of both halves.
        train, test: how many prompt pairs select the circuit, and how many judge it.
        example: the first training pair; `source` the task's file, None for a shipped one.
    """

    name: str
    description: str
    digest: Sha256
    train: Count
    test: Count
    example: Example
    source: str | None = None


def describe_task(task: Task, reader: Reader) -> TaskRecord:
    """What the files say about a task; the example is its first training pair.

    Args:
        reader: the model; only its tokenizer is used.
    """
    prompts = task.train
    clean, corrupted = prompts.texts[0]
    answer, wrong = (
        tuple(reader.tokenizer.decode([token]) for token in tokens[0, mask[0]].tolist())
        for tokens, mask in (
            (prompts.answer_tokens, prompts.answer_mask),
            (prompts.wrong_tokens, prompts.wrong_mask),
        )
    )
    return TaskRecord(
        name=task.name,
        description=task.description,
        digest=task.digest,
        train=len(task.train),
        test=len(task.test),
        example=Example(clean=clean, corrupted=corrupted, answer=answer, wrong=wrong),
        source=task.source,
    )


class Versions(Record):
    """The software that computed the run."""

    saecircuits: str
    torch: str
    transformer_lens: str
    python: str


class Counts(Record):
    """Sizes of the graph and of the circuit in it (zeros until one is chosen).

    Attributes:
        nodes, edges: rows of the graph.
        members: features and error nodes of the circuit; `errors` of them are error nodes.
        circuit_edges: edges of the circuit.
    """

    nodes: Count
    edges: Count
    members: Count
    errors: Count
    circuit_edges: Count


class CircuitRecord(Record):
    """`circuit.json`: everything about a run that is not a table.

    Attributes:
        task: what was asked; None if the graph was made from prompts without a named task.
        prompts: digest of the prompts that the graph was computed from.
        command: the command line that repeats the run; None if it was made from Python.
        conventions: what metric, sign and ranking are.
        selection: how the circuit was chosen; None until it is.
        candidates: ids that could have been kept, strongest first; None where these are exactly
            the features and error nodes of `nodes.parquet`.
        circuit_digest: sha256 over the circuit's node ids and edges; None until it is chosen.
        files: sha256 of each table, so that a mixed-up folder is noticed.
    """

    format: Literal["saecircuits/1"] = FORMAT
    versions: Versions
    task: TaskRecord | None
    prompts: str
    command: str | None
    seed: int
    dtype: str
    settings: AttributionSettings
    conventions: dict[str, str] = Field(default_factory=lambda: dict(CONVENTIONS))
    selection: dict[str, Any] | None
    summary: dict[str, Any]
    provenance: dict[str, Any]
    counts: Counts
    candidates: tuple[str, ...] | None
    circuit_digest: Sha256 | None
    files: dict[str, Sha256]

    @field_validator("settings", mode="before")
    @classmethod
    def _held_unless_said(cls, given: object) -> object:
        """Runs written before the choice was there had their thresholds held."""
        if not isinstance(given, dict):
            return given
        return AttributionSettings.stored({"thresholds": "held", **given})

    @property
    def model(self) -> str:
        """The name of the model."""
        return str(self.provenance.get("model", "model"))

    @property
    def title(self) -> str:
        """What the run's files are headed."""
        return f"{self.task_name or 'A circuit'} in {self.model}"

    @property
    def example(self) -> Example | None:
        """A prompt pair, if there is a task."""
        return None if self.task is None else self.task.example

    @property
    def task_name(self) -> str | None:
        """The name of the task; None if the graph was made without one."""
        return None if self.task is None else self.task.name

    @property
    def dictionaries(self) -> dict[str, str]:
        """Digest of the dictionary at each site."""
        return dict(self.provenance.get("dictionaries") or {})


def read_record(folder: str | Path) -> CircuitRecord:
    """`circuit.json`, checked.

    Raises:
        RunFolderError: missing, half-written, of another format, or with unknown keys.
    """
    return read_json(Path(folder) / RECORD, CircuitRecord)


class ReportFile(ValidationReport):
    """`validation.json`: a report, and the circuit that it is about."""

    format: Literal["saecircuits/1"] = Field(default=FORMAT, exclude=True)
    circuit_digest: Sha256 = Field(exclude=True)


class PathsFile(Routes):
    """`paths.json`: paths, and the tables that they belong to.

    Attributes:
        tables: sha256 of each table of the run, as in `circuit.json`.
    """

    format: Literal["saecircuits/1"] = Field(default=FORMAT, exclude=True)
    tables: dict[str, Sha256] = Field(exclude=True)
