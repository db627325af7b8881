"""`expand`: a prompt's stream by degree, exactly; the naive sum and the remainder beside it."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.expansion.affine import AffineRun, affine_run
from saecircuits.expansion.prompt import (
    Metric,
    Prompt,
    check_position,
    read_baseline,
    read_metric,
    read_prompt,
)
from saecircuits.expansion.readouts import (
    Readout,
    logit_map,
    read_feature,
    read_logits,
    read_metric_terms,
)
from saecircuits.expansion.remainder import Remainder, tangent_remainder
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.component_runs import ComponentRuns
from saecircuits.splicing.sites import LOGITS_HOOK
from saecircuits.theory import (
    NaiveExpansion,
    degree_spectrum,
    naive_expansion,
    partial_sum_errors,
    paths_by_degree,
    shares_of_reads,
    through,
)
from saecircuits.theory.chains import NamedMap
from saecircuits.torch_state import in_own_state


@dataclass(frozen=True, eq=False)
class Expansion:
    """A prompt's residual stream by degree, under an operator that reproduces it exactly.

    Attributes:
        tokens: the prompt's, as text.
        operator: `secant` or `frozen` (tangent gates), whose components are expanded.
        terms: `T_k`, what has passed k components; biases enter at degree 1. They add up to
            `stream`.
        stream: T, the stream that enters the final norm, as the model computes it.
        paths: how many paths there are of each degree.
        metric: what the table of components and the remainder are about.
        components: a row for the embedding, every component in order, and the constant of the
            readout; columns below.
        naive: the naive residual expansion, which is not a decomposition, and its errors.
        remainder: what the tangent operator leaves out of the change from a baseline.
        run: the affine components themselves.

    Columns of `components`: `component`, `step` (components of one step read the same stream),
    `norm` of what it writes at the metric's position, `bias_norm` of the part that it writes
    whatever it reads, `share` (factorized view: `o_c . T / |T|^2` over all positions, adds up to
    1), `direct` (what it writes itself gives to the metric; adds up to the metric, the constant
    included), `through` (all paths through it; for the embedding, all paths without a bias).
    """

    tokens: tuple[str, ...]
    operator: str
    by: str
    terms: Float[Tensor, "degree pos d_model"]
    stream: Float[Tensor, "pos d_model"]
    paths: tuple[int, ...]
    metric: Metric
    components: pd.DataFrame
    naive: NaiveExpansion
    remainder: Remainder
    run: AffineRun

    @property
    def naive_error(self) -> list[float]:
        """By degree, `||T - naive sum up to it|| / ||T - x||`; as far as the naive sum goes."""
        return list(self.naive.errors)

    @property
    def error(self) -> list[float]:
        """The same of the exact terms: how far T is from the terms up to each degree."""
        return partial_sum_errors(self.terms, self.stream)

    @in_own_state
    def logits(self, at: int = -1) -> Readout:
        """All logits at a position by degree, before any soft-cap: `[degree, d_vocab]`.

        Raises:
            InputError: no such position.
        """
        return read_logits(self.run, self.terms, check_position(at, len(self.stream)))

    @in_own_state
    def metric_by_degree(self) -> Readout:
        """The metric by degree, in logits."""
        return read_metric_terms(self.run, self.terms, self.metric)

    @in_own_state
    def feature(self, hook: str, feature: int, at: int = -1) -> Readout:
        """A feature's pre-activation by degree; its activation is the same where it is active.

        Degrees end at the components that come before the site. A transcoder's features are read
        from what it reads, a SAE's from what it writes.

        Raises:
            UnknownNameError: no dictionary is spliced at `hook`.
            InputError: no such feature or position.
        """
        model = self.run.recording.model
        index = model.index(hook)
        splice, position = model.splices[index], check_position(at, len(self.stream))
        if not 0 <= feature < splice.dictionary.d_sae:
            raise InputError(
                f"there is no feature {feature} at {hook}; it has {splice.dictionary.d_sae}"
            )
        seen: dict[int, Tensor] = {}

        def at_site(place: int, read: Tensor, write: Tensor) -> None:
            seen[place] = read

        with torch.no_grad():
            model.forward(self.run.tokens[None], at_site=at_site)
            read = seen[index].reshape(len(self.stream), -1)
            return read_feature(self.run, splice, feature, position, read)

    @in_own_state
    def table(self, n_tokens: int = 5) -> pd.DataFrame:
        """A row per degree: paths, norms, errors, and what goes to the top next tokens' logits.

        Columns: `degree`; `paths`; `norm` of T_k at the metric's position; `error` and
        `naive_error` of the sums up to this degree; `metric`; then the most likely next tokens,
        their logits less the mean over the vocabulary, which the softmax does not see. Degree
        `constant` is what biases behind the stream give, and `total` the model's own.
        """
        logits = self.logits(self.metric.position)
        top = logits.value.argsort(descending=True)[:n_tokens]
        names = self.run.recording.model.tokenizer.batch_decode(top[:, None])
        metric = self.metric_by_degree()
        n_degrees = len(self.terms)
        empty = [None, None]
        naive = [*self.naive.errors, *[None] * (n_degrees - len(self.naive.errors))]
        norms = self.terms[:, self.metric.position].norm(dim=-1).tolist()
        whole = float(self.stream[self.metric.position].norm())
        columns = {
            "degree": [*map(str, range(n_degrees)), "constant", "total"],
            "paths": [*self.paths, None, sum(self.paths)],
            "norm": [*norms, None, whole],
            "error": [*self.error, *empty],
            "naive_error": [*naive, *empty],
            "metric": [*metric.terms.tolist(), float(metric.constant), float(metric.value)],
        }
        for name, token in zip(names, top.tolist(), strict=True):
            parts = [*logits.terms, logits.constant, logits.value]
            columns[name] = [float(part[token] - part.mean()) for part in parts]
        return pd.DataFrame(columns)

    @in_own_state
    def to_json(self) -> dict[str, Any]:
        """Everything but the tensors, as plain values; what is not known is None."""
        left = self.remainder
        return {
            "tokens": list(self.tokens),
            "operator": self.operator,
            "by": self.by,
            "metric": {**asdict(self.metric), "by_degree": self.metric_by_degree().terms.tolist()},
            "degrees": _records(self.table()),
            "components": _records(self.components),
            "naive": asdict(self.naive),
            "remainder": {
                "baseline": left.baseline,
                "share_of_stream": left.share,
                "metric_change": left.metric_change,
                "metric_tangent": left.metric_tangent,
                "sources": _records(left.table),
            },
        }


@in_own_state
@torch.no_grad()
def expand(
    model: SplicedModel,
    prompt: Prompt,
    *,
    operator: str = "secant",
    by: str = "layer",
    corrupted: Prompt | None = None,
    answer: str | None = None,
    wrong: str | None = None,
    at: int | None = None,
    naive_limit: int = 1000,
    naive_degree: int | None = None,
) -> Expansion:
    """The degree spectrum of a prompt, and what it leaves out.

        T = sum over degrees k of T_k,   T_k = coefficient of t^k in prod_i (I + t sum_c M_c)

    The operator holds attention patterns, norm scales and activation gates at the prompt; it
    reproduces the run exactly, so the terms add up to the model's own stream. Degree counts the
    components passed, a head and the MLP behind it being 2; heads of one layer, and attention and
    MLP of a parallel block, are never passed one after the other. So the spectrum is the same by
    head as by layer; paths and the table of components are not.

    Args:
        prompt: a text, or tokens with what is prepended first.
        operator: `secant` gates, phi(z)/z, or `frozen` for tangent gates, phi'(z), whose
            intercepts count as biases.
        by: whether an attention layer is one component or its heads are.
        corrupted: the baseline of the remainder, of equal length; by default the token embeddings
            at zero, all but of what is prepended.
        answer: of the metric, `logit(answer) - logit(wrong)`: one token, taken literally; by
            default the most likely next token; `wrong` by default the next most likely.
        at: the metric's position; by default the last.
        naive_limit: no degree of the naive sum is begun that would take the applications of a
            component above this; `naive_degree` is the last degree computed.

    Raises:
        NotCoveredError: the model has a part that its anatomy does not know.
        UnknownNameError: `operator` or `by` is none of the choices.
        TaskError, InputError: a prompt, answer or position that cannot be used.
    """
    tokens = read_prompt(model, prompt)
    baseline = read_baseline(model, tokens, corrupted)
    run = affine_run(model, tokens, operator=operator, by=by)
    metric = read_metric(model, run.recording[LOGITS_HOOK][0], answer=answer, wrong=wrong, at=at)
    naive = naive_expansion(
        own_components(run), run.source, run.stream, limit=naive_limit, max_degree=naive_degree
    )
    return Expansion(
        tokens=tuple(model.tokenizer.batch_decode(tokens[:, None])),
        operator=operator,
        by=by,
        terms=degree_spectrum(run.source, run.steps),
        stream=run.stream,
        paths=tuple(paths_by_degree([len(step.components) for step in run.steps])),
        metric=metric,
        components=_components(run, metric),
        naive=naive,
        remainder=tangent_remainder(model, tokens, baseline, metric),
        run=run,
    )


def own_components(run: AffineRun) -> list[list[NamedMap]]:
    """The model's own attention layers and MLPs, step by step, as functions of the stream."""
    parts = ComponentRuns(run.recording.model, run.tokens)
    steps: list[list[NamedMap]] = [[] for _ in run.steps]
    for layer, places in enumerate(zip(run.attention_steps, run.mlp_steps, strict=True)):
        steps[places[0]].append((f"L{layer}.attention", partial(parts.attention, layer)))
        steps[places[1]].append((f"L{layer}.MLP", partial(parts.mlp, layer)))
    return steps


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.astype(object).where(table.notna(), None).to_dict("records")


def _components(run: AffineRun, metric: Metric) -> pd.DataFrame:
    outputs = torch.cat([run.source[None], *run.outputs])
    biases = [component.bias for step in run.steps for component in step.components]
    silent = torch.stack([torch.zeros_like(run.source), *biases])
    chosen = torch.tensor([metric.answer, metric.wrong], device=outputs.device)
    readouts = read_metric_terms(run, run.source[None], metric)

    def to_metric(streams: Tensor) -> list[float]:
        answer, wrong = logit_map(run, streams, metric.position, chosen).unbind(-1)
        return (answer - wrong).tolist()

    def norms(streams: Tensor) -> list[float]:
        return streams[:, metric.position].norm(dim=-1).tolist()

    numbers = [number for number, step in enumerate(run.steps) for _ in step.components]
    constant = float(readouts.constant)
    return pd.DataFrame(
        {
            "component": ["embedding", *run.names, "constant"],
            "step": pd.array([None, *numbers, None], dtype="Int64"),
            "norm": [*norms(outputs), None],
            "bias_norm": [*norms(silent), None],
            "share": [*shares_of_reads(run.source, run.outputs)[-1].tolist(), None],
            "direct": [*to_metric(outputs), constant],
            "through": [*to_metric(through(run.source, run.steps, run.outputs)), None],
        }
    )
