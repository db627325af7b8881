"""Targets as rows: one vector per target and token, at that token and nowhere else.

A target is a feature (or an error) in a unit, and a unit may hold several tokens. Where a feature
is inactive its derivative is zero, so only its active tokens become rows. A row's vector carries no
weight: two numbers beside it say what it counts for in effects (`dm/da_v`) and in plain weights.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.estimators import PlaceGradient
from saecircuits.nodes.interventions import ERROR, Spot
from saecircuits.splicing.anatomy import Unembedding


@dataclass(frozen=True, eq=False)
class Rows:
    """Where some targets stand, token by token, ordered by prompt.

    Attributes:
        origin: the row that each row was spread from when an attention layer was left again; itself
            where that has not happened.
        first: the first token of its prompt at which a row can meet a source.
        target: index of each row's target.
        effect_weight: what a row counts for in effects.
        plain_weight: what it counts for in plain weights: 1 for features, 0 for errors.
    """

    n_target: int
    n_prompt: int
    origin: Int[Tensor, " n_row"]
    prompt: Int[Tensor, " n_row"]
    pos: Int[Tensor, " n_row"]
    target: Int[Tensor, " n_row"]
    effect_weight: Float[Tensor, " n_row"]
    plain_weight: Float[Tensor, " n_row"]
    first: Int[Tensor, " n_row"]

    @property
    def cell(self) -> Int[Tensor, " n_row"]:
        """Where each row's result belongs among `[target, batch]`, flattened."""
        return self.target * self.n_prompt + self.prompt

    def some(self, chosen: Int[Tensor, " n_chosen"]) -> "Rows":
        """Some of the rows, of which none is spread yet."""
        origin = torch.arange(len(chosen), device=chosen.device)
        return replace(self, origin=origin, **{name: getattr(self, name)[chosen] for name in _OWN})

    def spread(self) -> "Rows":
        """A row for every token that each row reaches: from the first to its own."""
        counts = (self.pos - self.first + 1).clamp(min=0)
        origin = torch.repeat_interleave(counts)
        step = torch.arange(len(origin), device=origin.device) - (counts.cumsum(0) - counts)[origin]
        spread = {name: getattr(self, name)[origin] for name in _OWN}
        return replace(self, **spread | {"origin": origin, "pos": spread["first"] + step})


_OWN = ("prompt", "pos", "target", "effect_weight", "plain_weight", "first")


def target_rows(
    contrast: Contrast,
    targets: tuple[Spot, ...],
    gradient: PlaceGradient,
    *,
    is_asleep: bool = False,
) -> tuple[Rows, Float[Tensor, "n_row d_in"], Float[Tensor, "n_row d_out"]]:
    """Rows of some targets at one site, and their cotangents of what it reads and writes.

    The cotangent of an error node is what of `dm/dx` the features do not account for:
    `g - E^T diag(active) D g` (and less the skip weights), at the unit's tokens. What is written
    has a cotangent for error nodes alone; a feature's is its encoder row, at what is read.

    Args:
        is_asleep: rows for features where they are off, as if they were on, in place of all others.
    """
    place = targets[0].place
    dictionary = contrast.model.splices[place].dictionary
    site = contrast.clean.sites[place]
    clean = site.activations
    device = contrast.model.device
    units = torch.tensor([spot.unit for spot in targets], device=device)
    features = torch.tensor([spot.feature for spot in targets], device=device)
    is_error = features == ERROR
    inside = contrast.units.clean[..., None] == units  # [batch, pos, target]
    active = clean.of(features.clamp(min=0)) != 0
    stands = ~(active | is_error) if is_asleep else active | is_error
    # Prompt by prompt and within it target by target: neighbours in memory.
    prompt, target, pos = (inside & stands).transpose(1, 2).nonzero().unbind(1)
    there = gradient.gradient[prompt, pos]
    feature, from_error = features.clamp(min=0)[target], is_error[target]
    read = None if site.read is None else site.read[prompt, pos]
    at_read = dictionary.rows_at(feature, read)
    at_write = torch.zeros_like(there)
    along = (there * dictionary.W_dec[feature]).sum(-1)
    if bool(from_error.any()):
        error = there[from_error]
        is_active = clean.active(prompt[from_error], pos[from_error])
        at_write[from_error] = error
        read = None if read is None else read[from_error]
        at_read[from_error] = -dictionary.pull_back(error @ dictionary.W_dec.T, is_active, read)
        if dictionary.W_skip is not None:
            at_read[from_error] -= error @ dictionary.W_skip.T
    rows = Rows(
        n_target=len(targets),
        n_prompt=len(contrast.prompts),
        origin=torch.arange(len(prompt), device=device),
        prompt=prompt,
        pos=pos,
        target=target,
        effect_weight=torch.where(from_error, 1.0, along),
        plain_weight=(~from_error).to(along),
        first=torch.zeros_like(pos),
    )
    return rows, at_read, at_write


def metric_rows(
    contrast: Contrast, end: Unembedding
) -> tuple[Rows, Float[Tensor, "n_row d_model"]]:
    """One row per prompt: the logit difference at its last token, before the final norm."""
    prompts, device = contrast.prompts, contrast.model.device
    n_prompt = len(prompts)
    prompt = torch.arange(n_prompt, device=device)
    pos = prompts.clean_lengths.to(device) - 1
    logits = end.W_U.new_zeros(n_prompt, end.W_U.shape[1])
    for sign, tokens, mask in (
        (1.0, prompts.answer_tokens, prompts.answer_mask),
        (-1.0, prompts.wrong_tokens, prompts.wrong_mask),
    ):
        kept = mask.to(logits)
        share = sign * kept / kept.sum(1, keepdim=True)
        # Padded entries have share 0, whatever token stands there.
        logits.scatter_add_(1, tokens.to(device).clamp(min=0), share)
    if end.slope is not None:
        logits = logits * end.slope[prompt, pos]
    vectors = end.norm.pull_back(logits @ end.W_U.T, prompt, pos)
    ones = torch.ones_like(vectors[:, 0])
    rows = Rows(
        n_target=1,
        n_prompt=n_prompt,
        origin=prompt,
        prompt=prompt,
        pos=pos,
        target=torch.zeros_like(prompt),
        effect_weight=ones,
        plain_weight=ones,
        first=torch.zeros_like(pos),
    )
    return rows, vectors
