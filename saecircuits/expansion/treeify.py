"""`treeify`: the effects of single paths, measured by intervention on the model itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.errors import InputError, UnknownNameError
from saecircuits.expansion.affine import AffineRun, affine_run
from saecircuits.expansion.prompt import (
    Baseline,
    Metric,
    Prompt,
    read_baseline,
    read_metric,
    read_prompt,
)
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.component_runs import ComponentRuns
from saecircuits.splicing.hooking import recording
from saecircuits.splicing.section import Section
from saecircuits.splicing.sites import LOGITS_HOOK
from saecircuits.theory import Level, path_changes, reads, total_change
from saecircuits.theory.chains import NamedMap, applications_of_next
from saecircuits.torch_state import in_own_state

EMBEDDING = "embedding"


@dataclass(frozen=True, eq=False)
class PathEffects:
    """Effects of the paths from one source on the metric, in logits, clean minus baseline.

    Attributes:
        table: `path`, `degree` (components behind the source), `effect`; strongest first.
        total: the effect of moving the source for everything that comes behind it.
        is_complete: True where the table holds every path.
        stopped: how far it goes, and why.
    """

    source: str
    table: pd.DataFrame
    total: float
    is_complete: bool
    stopped: str

    def to_json(self, n_paths: int = 20) -> dict[str, Any]:
        """The strongest paths, the total and what is left over, as plain values."""
        return {
            "source": self.source,
            "total": self.total,
            "interaction": self.interaction,
            "n_paths": len(self.table),
            "stopped": self.stopped,
            "paths": self.table.head(n_paths).to_dict("records"),
        }

    @property
    def interaction(self) -> float:
        """`total - sum of the path effects`; with it, paths that are not listed."""
        return self.total - float(self.table["effect"].sum())


@dataclass(frozen=True, eq=False)
class Tree:
    """A run and its baseline, of which single paths can be moved.

    Attributes:
        changes: step by step, each component's name and its map from a change of what it reads to
            the change of what it writes, in the model itself.
        together: the same of whole steps.
        moved: by source name, its value in the baseline less its value in the run.
        firsts: by source name, the first step that reads it.
    """

    run: AffineRun
    metric: Metric
    baseline: str
    changes: tuple[tuple[NamedMap, ...], ...]
    together: tuple[Callable[[Tensor], Tensor], ...]
    moved: dict[str, Float[Tensor, "pos d_model"]]
    firsts: dict[str, int]

    @in_own_state
    def effect(self, *path: str) -> float:
        """The effect of one path on the metric, from its first member to the logits.

        The first member's output is put at its baseline only in what the second reads, the second
        is computed anew and its change alone passed on to the third, and so on.

        Args:
            path: `embedding` or a component, then components in order, such as `L0.H1`, `L2.MLP`.

        Raises:
            UnknownNameError: no such component.
            InputError: an empty path, or one that goes backwards.
        """
        if not path:
            raise InputError("a path needs at least its source; give 'embedding' or a component")
        for name in path:
            if name not in self.moved:
                raise UnknownNameError("component", name, self.moved)
        change, first = self.moved[path[0]][None], self.firsts[path[0]]
        for name in path[1:]:
            number = self.firsts[name] - 1
            if number < first:
                raise InputError(f"{name} does not come behind what is before it in {path}")
            change, first = dict(self.changes[number])[name](change), number + 1
        return float(self._effects(change)[0])

    @in_own_state
    def total(self, source: str = EMBEDDING) -> float:
        """The effect of the source on the metric, moved for everything that comes behind it."""
        self._check(source)
        change = total_change(self.together, self.moved[source], first=self.firsts[source])
        return float(self._effects(change[None])[0])

    @in_own_state
    def paths(self, source: str = EMBEDDING, *, limit: int = 1000) -> PathEffects:
        """The effects of all paths from a source, shortest first until the limit.

        Args:
            limit: no degree is begun that would take the applications of a component above this.
        """
        self._check(source)
        rows: list[tuple[str, int, float]] = []
        level: Level | None = None
        for level in path_changes(
            self.changes, self.moved[source], first=self.firsts[source], limit=limit
        ):
            effects = self._effects(level.values).tolist()
            names = (">".join((source, *path)) for path in level.paths)
            rows += [
                (name, len(path), effect)
                for name, path, effect in zip(names, level.paths, effects, strict=True)
            ]
        assert level is not None
        needed = applications_of_next(self.changes, level)
        table = pd.DataFrame(rows, columns=["path", "degree", "effect"])
        order = table["effect"].abs().sort_values(ascending=False, kind="stable").index
        last = len(level.paths[0])
        stopped = (
            f"stopped at degree {last}: degree {last + 1} takes {needed} more applications of a "
            f"component, and the limit is {limit}"
            if needed
            else f"complete: degree {last} is the last"
        )
        return PathEffects(
            source, table.loc[order].reset_index(drop=True), self.total(source),
            is_complete=needed == 0, stopped=stopped,
        )  # fmt: skip

    def _check(self, source: str) -> None:
        if source not in self.moved:
            raise UnknownNameError("component", source, self.moved)

    @torch.no_grad()
    def _effects(self, changes: Float[Tensor, "n_path pos d_model"]) -> Float[Tensor, " n_path"]:
        """`m(T) - m(T + change)` through the model's own final norm and unembedding."""
        clean = self.run.recording[LOGITS_HOOK][0, self.metric.position]
        found = [self.metric.of(clean - self._logits(part)) for part in changes.split(128)]
        return torch.cat(found) * self.run.anatomy.unembedding.scale

    def _logits(self, changes: Tensor) -> Tensor:
        model = self.run.recording.model
        tokens = self.run.tokens.expand(len(changes), -1)
        section = Section(first=model.n_layers, stream=self.run.stream + changes)
        with recording(model.bridge, model.hook_points, [LOGITS_HOOK]) as seen:
            model.forward(tokens, section=section)
        return seen[LOGITS_HOOK][:, self.metric.position]


@in_own_state
@torch.no_grad()
def treeify(
    model: SplicedModel,
    prompt: Prompt,
    *,
    corrupted: Prompt | None = None,
    by: str = "layer",
    answer: str | None = None,
    wrong: str | None = None,
    at: int | None = None,
) -> Tree:
    """The treeified view of a prompt: paths that can be moved one at a time, by intervention.

    Nothing is held: components are the model's own. By head, a head is computed anew with the
    layer's other heads as they were. Path effects need not add up to the total effect of their
    source; `PathEffects.interaction` is the difference.

    Args:
        corrupted: the baseline, of equal length; by default the token embeddings at zero, all but
            of what is prepended.
        by, answer, wrong, at: as in `expand`.

    Raises:
        NotCoveredError, UnknownNameError, TaskError, InputError: as `expand`.
    """
    tokens = read_prompt(model, prompt)
    baseline = read_baseline(model, tokens, corrupted)
    run = affine_run(model, tokens, by=by)
    metric = read_metric(model, run.recording[LOGITS_HOOK][0], answer=answer, wrong=wrong, at=at)
    parts = ComponentRuns(model, tokens)
    changes = _changes(run, parts, by=by)
    together = [partial(_sum_of, step) for step in _changes(run, parts, by="layer")]
    change = _first_stream(run, baseline) - run.source
    moved, firsts = {EMBEDDING: change}, {EMBEDDING: 0}
    for number, (step, whole) in enumerate(zip(changes, together, strict=True)):
        for name, apply in step:
            moved[name], firsts[name] = apply(change[None])[0], number + 1
        change = change + whole(change[None])[0]
    return Tree(run, metric, baseline.name, changes, tuple(together), moved, firsts)


def _first_stream(run: AffineRun, baseline: Baseline) -> Float[Tensor, "pos d_model"]:
    model, name = run.recording.model, run.recording.block(0).before
    with recording(model.bridge, model.hook_points, [name]) as seen:
        model.forward(baseline.tokens[None], at_tokens=baseline.at_tokens)
    return seen[name][0]


def _changes(run: AffineRun, parts: ComponentRuns, *, by: str) -> tuple[tuple[NamedMap, ...], ...]:
    """Step by step `d -> F_c(r_c + d) - F_c(r_c)`, of the model's own components."""
    streams = reads(run.source, run.outputs)
    steps: list[list[NamedMap]] = [[] for _ in run.steps]
    for layer, (attention, mlp) in enumerate(zip(run.attention_steps, run.mlp_steps, strict=True)):
        hooks = run.recording.block(layer)
        functions: list[NamedMap] = [(f"L{layer}.attention", partial(parts.attention, layer))]
        if by == "head":
            results = run.recording[hooks.attention.heads][0]
            functions = [
                (f"L{layer}.H{head}", partial(parts.head, layer, head, results=results))
                for head in range(results.shape[1])
            ]
        steps[attention] += [
            (name, partial(_change, function, streams[attention])) for name, function in functions
        ]
        steps[mlp].append(
            (f"L{layer}.MLP", partial(_change, partial(parts.mlp, layer), streams[mlp]))
        )
    return tuple(map(tuple, steps))


def _change(function: Callable[[Tensor], Tensor], read: Tensor, change: Tensor) -> Tensor:
    # What was written is computed anew beside it, so that no change gives none to the last digit.
    written = function(torch.cat([read[None], read + change]))
    return written[1:] - written[:1]


def _sum_of(step: Sequence[NamedMap], change: Tensor) -> Tensor:
    return torch.stack([apply(change) for _, apply in step]).sum(0)
