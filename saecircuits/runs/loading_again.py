"""How the model and the task of a run are loaded again, as its record says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from saecircuits.runs.records import CircuitRecord
from saecircuits.tasks.prepending import recorded


@dataclass(frozen=True)
class ModelWords:
    """What `load_model` is given for the model of a run.

    Attributes:
        source: the model; None where it was spliced by hand and no word loads it.
        dictionaries: each by the word for it and no other; empty for those of the model's manifest.
        sites: of these; a kind, or hook names. None where `dictionaries` says which.
        dtype: of model and dictionaries.
        is_insisted: whether something had to be insisted on.
    """

    source: str | None
    dictionaries: tuple[str, ...]
    sites: str | Sequence[str] | None
    dtype: str
    is_insisted: bool

    @classmethod
    def of(cls, record: CircuitRecord) -> "ModelWords":
        """Those of a record. Earlier versions recorded no sites: they are the dictionaries'."""
        known = record.provenance
        words = tuple(dict.fromkeys(known.get("dictionaries_from", {}).values()))
        sites = None if words else known.get("sites") or list(record.dictionaries)
        return cls(known.get("source"), words, sites, record.dtype, "insisted" in known)

    @property
    def call(self) -> str | None:
        """The call of `load_model`, as Python; None where no word loads the model."""
        if self.source is None:
            return None
        named: dict[str, Any] = {"dictionaries": list(self.dictionaries), "sites": self.sites}
        choices = [repr(self.source), *(f"{name}={one!r}" for name, one in named.items() if one)]
        choices.append(f"dtype={self.dtype!r}")
        if self.is_insisted:
            choices.append("insist=True")
        return f"sc.load_model({', '.join(choices)})"


def task_call(record: CircuitRecord) -> str | None:
    """The call of `load_task`, as Python, on a variable `model`; None for prompts without a task.

    `limit` is what the larger half has: it leaves a task that was not cut as it is.
    """
    task, front = record.task, recorded(record.provenance)
    if task is None:
        return None
    choices = [repr(task.source or task.name), "model", f"limit={max(task.train, task.test)}"]
    if front is not None and not front.is_own:
        choices.append(f"prepend={front.choice!r}")
    return f"sc.load_task({', '.join(choices)})"
