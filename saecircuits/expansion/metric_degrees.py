"""`metric_degrees`: a task's metric by degree, prompt by prompt, from one polynomial pass each.

Of each prompt the run is frozen (attention patterns, norm scales and gates at their values there)
and expanded, and what the metric reads is taken off every degree:

    metric = constant + sum over degrees k of metric(T_k),    T = sum over k of T_k

It is exact prompt by prompt, and of the whole model: neither dictionaries nor a circuit come in.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.expansion.affine import affine_run
from saecircuits.expansion.readouts import read_logits
from saecircuits.splicing import SplicedModel
from saecircuits.tasks import Prompts, logit_difference
from saecircuits.theory import degree_spectrum, paths_by_degree


@dataclass(frozen=True, eq=False)
class MetricDegrees:
    """The metric on clean prompts by degree, in logits: `terms.sum(1) + constant = value`.

    Attributes:
        operator: `secant` or `frozen` (tangent gates), whose components are expanded.
        terms: what paths that pass k components give to the metric; biases enter at degree 1.
        constant: what biases behind the stream give (of the final norm and the unembedding).
        value: the metric as the model computes it, before any soft-cap of the logits.
        paths: how many paths there are of each degree, an attention layer being one component.
    """

    operator: str
    terms: Float[Tensor, "prompt degree"]
    constant: Float[Tensor, " prompt"]
    value: Float[Tensor, " prompt"]
    paths: tuple[int, ...]


def metric_degrees(
    model: SplicedModel, prompts: Prompts, *, operator: str = "secant"
) -> MetricDegrees:
    """The metric of every clean prompt by degree; see `expand` for what a degree is.

    Raises:
        NotCoveredError: the model has a part that its anatomy does not know.
        UnknownNameError: the operator is not affine.
    """
    terms, constants, values, sizes = [], [], [], []
    for number, (tokens, length) in enumerate(
        zip(prompts.clean_tokens, prompts.clean_lengths.tolist(), strict=True)
    ):
        run = affine_run(model, tokens[:length].to(model.device), operator=operator)
        logits = read_logits(run, degree_spectrum(run.source, run.steps), length - 1)
        rows = torch.stack([*logits.terms, logits.constant, logits.value])
        # The same answers for every row.
        metric = logit_difference(rows, prompts.subset([number] * len(rows))).cpu()
        terms.append(metric[:-2])
        constants.append(metric[-2])
        values.append(metric[-1])
        sizes = [len(step.components) for step in run.steps]
    return MetricDegrees(
        operator=operator,
        terms=torch.stack(terms),
        constant=torch.stack(constants),
        value=torch.stack(values),
        paths=tuple(paths_by_degree(sizes)),
    )
