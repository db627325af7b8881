"""What a command was asked for, as the package's own values."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from saecircuits.errors import InputError, public_path
from saecircuits.progress import Progress


@dataclass(frozen=True)
class ModelSource:
    """Which model a command was asked for.

    Attributes:
        sites: a kind of site, or hook names with commas between them.
        dictionaries: sources, with ids or without; None for the model's own.
        insist: take dictionaries that do not seem to fit.
    """

    model: str = "stories"
    sites: str | None = None
    dictionaries: Sequence[str] | None = None
    insist: bool = False
    device: str = "cpu"
    dtype: str = "float32"
    prepend: str | None = None

    def load(self, progress: Progress) -> Any:
        """The model, with dictionaries."""
        spliced = _load(
            self.model,
            sites=_sites_of(self.sites),
            dictionaries=self.dictionaries or None,
            insist=self.insist,
            device=self.device,
            dtype=self.dtype,
            progress=progress,
        )
        return spliced.prepending(self.prepend)

    def load_with(self, task: str, progress: Progress, *, limit: int | None) -> tuple[Any, Any]:
        """The model, and this task for it; the task is looked at first, and then the fit.

        Raises:
            DictionaryError: a dictionary that explains less than nothing of what the task's prompts
                have there, and is not insisted on; before anything long has begun.
        """
        from saecircuits.tasks import check_task

        check_task(task, limit=limit)
        progress("loading", 0.0)
        from saecircuits.nodes.experiment import Experiment
        from saecircuits.nodes.fit import checked_fit

        model = self.load(progress)
        loaded = load_task(task, model, limit=limit)
        checked_fit(Experiment(model, loaded.train, positions="sum"))
        return model, loaded


@dataclass(frozen=True)
class RunSource:
    """Where a run's model and task are; what is not asked for is taken from its record."""

    task: str | None = None
    model: str | None = None
    sites: str | None = None
    dictionaries: Sequence[str] | None = None
    device: str = "cpu"
    dtype: str | None = None
    prepend: str | None = None

    def load(
        self, record: Any, folder: Path, progress: Progress, *, limit: int | None = None
    ) -> tuple[Any, Any]:
        """The model that the run was found in, and its task or the one asked for.

        Raises:
            InputError: a model that cannot be found, or that is another one; a task that is not
                here, or cannot be read.
        """
        from saecircuits.tasks import check_task

        name = _own_task(record, folder) if self.task is None else self.task
        check_task(name, limit=limit)
        progress("loading", 0.0)
        model = self._load_model(record, folder, progress)
        return model, load_task(name, model, limit=limit)

    def _load_model(self, record: Any, folder: Path, progress: Progress) -> Any:
        from saecircuits.runs.loading_again import ModelWords
        from saecircuits.splicing import require_same_model
        from saecircuits.tasks.prepending import prepend_of

        known, own = record.provenance, ModelWords.of(record)
        named = self.model or own.source or known.get("model")
        words = self.dictionaries or list(own.dictionaries) or None
        sites = _sites_of(self.sites)
        if sites is None and words is None:
            sites = own.sites
        try:
            spliced = _load(
                str(named),
                sites=sites,
                dictionaries=words,
                # Whether they are the run's own is told by their digests.
                insist=True,
                device=self.device,
                dtype=self.dtype or own.dtype,
                progress=progress,
            )
            require_same_model(spliced, known, what="circuit")
            # Before it was recorded, the token that the libraries below call BOS was prepended.
            front = self.prepend or prepend_of(known, spliced.tokenizer.bos_token)
            spliced = spliced.prepending(front)
        except InputError as error:
            raise InputError(
                f"{folder} is of the model {known.get('model')!r}, and {named!r} cannot be taken "
                f"for it: {error}; --model, --dictionaries and --sites say where it is"
            ) from None
        return spliced


# What commands are given where nothing is said.
SHIPPED: Final = ModelSource()
AS_RECORDED: Final = RunSource()


def _sites_of(given: str | None) -> str | list[str] | None:
    """A kind of site, or hook names."""
    names = None if given is None else given.split(",")
    return names[0] if names and len(names) == 1 and "." not in names[0] else names


def _load(model: str, *, dictionaries: Sequence[str] | None, **choices: Any) -> Any:
    import saecircuits as sc
    from saecircuits.splicing.dictionary_sources import parsed

    spliced = sc.load_model(model, dictionaries=dictionaries, **choices)
    # The command stands in the run's record as it was typed; so may the folders in it.
    typed = {public_path(source): source for source, _ in map(parsed, dictionaries or ())}
    named = {
        hook: ":".join([typed[source], *ids])
        for hook, (source, *ids) in (
            (hook, name.rsplit(":", 1))
            for hook, name in spliced.provenance.get("dictionaries_from", {}).items()
        )
    }
    as_typed = {"source": model, **({"dictionaries_from": named} if named else {})}
    return replace(spliced, provenance={**spliced.provenance, **as_typed})


def load_task(name: str | Path, model: Any, *, limit: int | None = None) -> Any:
    """A task, by name or from a file, for this model."""
    import saecircuits as sc

    task = sc.load_task(name, model, limit=limit)
    return task if task.source is None else replace(task, source=str(name))


def settings_of(**choices: Any) -> Any:
    """The settings of these choices, which are plain text here and checked there."""
    from pydantic import ValidationError

    import saecircuits as sc

    try:
        return sc.AttributionSettings(**choices)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{first['loc'][0]} is {first['input']!r}: {first['msg']}") from None


def check_contexts(path: Path | None, licence: str | None) -> None:
    """Refuses a text that cannot be read, and a licence of none."""
    from saecircuits.features.texts import read_text

    if path is not None:
        read_text(path)
    elif licence is not None:
        raise InputError("--contexts-licence was given without --contexts; give the text's file")


def contexts_of(
    path: Path | None,
    licence: str | None,
    *,
    n_tokens: int | None,
    is_shown: bool,
    model: Any,
    settings: Any,
    progress: Progress,
) -> Any:
    """The text to look at features on."""
    from saecircuits.features.texts import (
        READ_TOKENS,
        generated_contexts,
        no_contexts,
        read_contexts,
    )

    if path is not None:
        n_read = READ_TOKENS if n_tokens is None else n_tokens
        return read_contexts(path, model, n_tokens=n_read, licence=licence, is_shown=is_shown)
    if not is_shown:
        return no_contexts()
    progress("contexts", 0.0)
    return generated_contexts(
        model,
        n_tokens=n_tokens,
        seed=settings.seed,
        memory_limit=int(settings.memory_limit),
        progress=partial(progress, "contexts"),
    )


def counts_of(option: str, given: str) -> list[int]:
    """Numbers with commas between them."""
    parts = given.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"{option} is {given!r}; give whole numbers with commas: 10,50,100")
    return [int(part) for part in parts]


def _own_task(record: Any, folder: Path) -> str | Path:
    import saecircuits as sc

    own = record.task
    if own is not None and own.source is not None:
        if Path(own.source).is_file():
            return Path(own.source)
        raise InputError(
            f"the task of {folder} was read from {own.source!r}, which is not here; give its file "
            "with --task"
        )
    if own is None or own.name not in sc.task_names():
        raise InputError(
            f"the task of {folder} is {record.task_name!r}, which is not a shipped one; give its "
            "file with --task"
        )
    return own.name


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["saecircuits", *sys.argv[1:]])
