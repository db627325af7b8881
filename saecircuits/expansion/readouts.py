"""What is read off a stream by an affine map, term by term.

With the final norm's scale held, logits are affine in the stream, and so are pre-activations of
features in what their dictionary reads. A readout of the spectrum is therefore a sum over degrees
and a constant, which is what the biases on the way from the stream to the readout give (of the
final norm and the unembedding, or of a norm and the encoder) whatever the stream holds.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.expansion.affine import AffineRun
from saecircuits.expansion.prompt import Metric
from saecircuits.splicing.model import Splice
from saecircuits.splicing.sites import LOGITS_HOOK
from saecircuits.theory import degree_spectrum


@dataclass(frozen=True, eq=False)
class Readout:
    """One or more numbers of a run by degree: `terms.sum(0) + constant = value`.

    Attributes:
        value: as the model computes it.
    """

    name: str
    terms: Float[Tensor, "degree ..."]
    constant: Float[Tensor, "..."]
    value: Float[Tensor, "..."]


def logit_map(
    run: AffineRun,
    streams: Float[Tensor, "*lead pos d_model"],
    position: int,
    tokens: Int[Tensor, " n_value"] | None = None,
) -> Float[Tensor, "*lead n_value"]:
    """The linear part of the way from the stream to logits: norm with its scale held, unembedding.

    Args:
        tokens: whose logits; None for all.
    """
    unembedding = run.anatomy.unembedding
    normed = unembedding.norm.push_each(streams.unsqueeze(-3)).squeeze(-3)
    W_U = unembedding.W_U if tokens is None else unembedding.W_U[:, tokens]
    return normed[..., position, :] @ W_U


def read_logits(
    run: AffineRun, terms: Float[Tensor, "degree pos d_model"], position: int
) -> Readout:
    """All logits at a position, before any soft-cap."""
    found = logit_map(run, terms, position)
    value = run.recording[LOGITS_HOOK][0, position] * run.anatomy.unembedding.scale
    constant = value - logit_map(run, run.stream, position)
    return Readout(f"logits at position {position}", found, constant, value)


def read_metric_terms(
    run: AffineRun, terms: Float[Tensor, "degree pos d_model"], metric: Metric
) -> Readout:
    """The metric, that is, a difference of two of the logits."""
    logits = read_logits(run, terms, metric.position)
    found = (metric.of(part) for part in (logits.terms, logits.constant, logits.value))
    return Readout(metric.name, *found)


def read_feature(
    run: AffineRun,
    splice: Splice,
    feature: int,
    position: int,
    read: Float[Tensor, "pos d_in"],
) -> Readout:
    """A feature's pre-activation; where the feature is active, its activation is the same number.

    Args:
        read: what the site's dictionary reads in the run.
    """
    terms = _terms_read(run, splice)
    dictionary = splice.dictionary
    chosen = dictionary.indices([feature])
    row = dictionary.rows_at(chosen, read[[position]])[0]
    value = dictionary.ungated(read[position], chosen)[0]
    found = terms[:, position] @ row
    name = f"feature {feature} of {splice.site.hook} at position {position}"
    return Readout(name, found, value - found.sum(), value)


def _terms_read(run: AffineRun, splice: Splice) -> Float[Tensor, "degree pos d_in"]:
    """The spectrum of what a site's dictionary reads, biases of the norm on the way left out."""
    site = splice.site
    hooks, block = run.recording.block(site.layer), run.anatomy.blocks[site.layer]
    attention_step, mlp_step = run.attention_steps[site.layer], run.mlp_steps[site.layer]
    if site.kind == "embed":  # what tokens are depends on no component
        return run.recording[site.point]
    if site.kind == "resid_mid":
        return degree_spectrum(run.source, run.steps[:mlp_step])
    if site.hook == hooks.before:
        return degree_spectrum(run.source, run.steps[:attention_step])
    if site.hook == hooks.after:
        return degree_spectrum(run.source, run.steps[: mlp_step + 1])
    if site.hook in (hooks.attention.heads, hooks.attention_out):
        terms = degree_spectrum(run.source, run.steps[:attention_step])[:, None]
        if site.hook == hooks.attention_out:
            return _written(block.attention.push(terms), run.recording[site.hook])
        pushed = block.attention.push_to_heads(terms)
        return _written(pushed, run.recording[site.hook]).flatten(-2)
    terms = degree_spectrum(run.source, run.steps[:mlp_step])[:, None]
    if not site.is_transcoder:
        return _written(block.mlp.push(terms), run.recording[site.hook])
    if site.reads_stream:
        return terms[:, 0]
    norm = block.mlp.norm
    if site.read_hook == hooks.ln2.normalized:
        norm = replace(norm, weight=torch.ones_like(norm.weight))
    return norm.push_each(terms)[:, 0]


def _written(
    pushed: Float[Tensor, "degree 1 ..."], recorded: Float[Tensor, "1 ..."]
) -> Float[Tensor, "one_degree_more ..."]:
    """What a component makes of every degree is one degree higher; its bias is of degree 1."""
    terms = torch.cat([torch.zeros_like(pushed[:1]), pushed])[:, 0]
    terms[1] += recorded[0] - terms.sum(0)
    return terms
