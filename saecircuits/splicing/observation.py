"""What the dictionaries see in a forward pass: features, errors and token embeddings as values.

    written_s = sum_i a_{s,i} d_{s,i} + b_s (+ skip) + e_s           (exact, for every site s)

and what features of earlier sites write at s, where there are such (`splicing.carrying`).

Two error policies say what becomes of the errors when something upstream is changed:

    recompute   the splice is the identity: errors are recomputed from the changed stream, so
                effects also pass through error nodes
    hold        errors stay at their clean value, as sources of their own; what passes a site
                passes through its features (and skip weights) alone
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.errors import ModelError, UnknownNameError
from saecircuits.splicing.activations import Activations, encode_sparse
from saecircuits.splicing.carrying import Carried, decoded_at
from saecircuits.splicing.model import SplicedModel

ErrorPolicy: TypeAlias = Literal["recompute", "hold"]


def check_error_policy(name: str) -> None:
    """Raises UnknownNameError unless `name` is recompute or hold."""
    if name not in get_args(ErrorPolicy):
        raise UnknownNameError("error policy", name, get_args(ErrorPolicy))


@dataclass(frozen=True, eq=False)
class SiteValues:
    """One site in one run.

    Attributes:
        activations: of every feature.
        error: what the dictionary leaves out of the written tensor.
        rest: the part of the written tensor that belongs to no node: `b_dec` and skip weights.
        read: what the dictionary read, where its features' derivatives depend on it: where it
            normalises every token.
    """

    activations: Activations
    error: Float[Tensor, "batch pos d_out"]
    rest: Float[Tensor, "*batch_pos d_out"]
    read: Float[Tensor, "batch pos d_in"] | None = None

    @property
    def features(self) -> Float[Tensor, "batch pos d_sae"]:
        """The activations as a dense tensor, which is large for wide dictionaries."""
        return self.activations.dense()


@dataclass(frozen=True, eq=False)
class Observation:
    """A run: token embeddings, the values at every spliced site, and the logits."""

    tokens: Float[Tensor, "batch pos d_model"]
    sites: tuple[SiteValues, ...]
    logits: Float[Tensor, "batch pos d_vocab"]

    def written(self, model: SplicedModel, index: int) -> Float[Tensor, "batch pos d_out"]:
        """The tensor that site `index` writes, put together from its nodes."""
        values = self.sites[index]
        features = decoded_at(model, lambda place: self.sites[place].activations, index)
        return features + values.error + values.rest


@torch.no_grad()
def observe(model: SplicedModel, tokens: Int[Tensor, "batch pos"]) -> Observation:
    """One forward pass of the model as it is, read through its dictionaries.

    Raises:
        ModelError: where the model's tensors or logits are NaN, or its tensors infinite.
    """
    embeddings: list[Tensor] = []
    found: list[SiteValues] = []
    acts: list[Activations] = []

    def at_site(index: int, read: Tensor, write: Tensor) -> None:
        dictionary = model.splices[index].dictionary
        activations = encode_sparse(dictionary, read)
        rest = dictionary.b_dec + dictionary.skip(read)
        acts.append(activations)
        error = write - decoded_at(model, acts.__getitem__, index) - rest
        _check_finite(error, f"what is read and written at {model.hooks[index]}", model)
        is_own = dictionary.normalisation is not None
        found.append(SiteValues(activations, error, rest, read if is_own else None))

    logits = model.forward(tokens, at_site=at_site, at_tokens=embeddings.append)
    _check_finite(torch.where(logits.isinf(), 0.0, logits), "the logits", model)
    return Observation(tokens=embeddings[0], sites=tuple(found), logits=logits)


def _check_finite(tensor: Tensor, what: str, model: SplicedModel) -> None:
    if not bool(tensor.isfinite().all()):
        raise ModelError(
            f"in model {model.name!r} {what} are NaN or infinite on these prompts, in "
            f"{str(model.dtype).removeprefix('torch.')}; choose a dtype with a larger range "
            "(bfloat16, float32)"
        )


def pass_through(
    model: SplicedModel, held_errors: Sequence[Tensor] | None, carried: Carried | None = None
) -> Callable[[int, Tensor, Tensor], Tensor]:
    """What a site writes when nothing is done to it: itself, or its features plus a held error.

    Args:
        held_errors: for the policy `hold`, the clean error of every site; None for `recompute`.
        carried: under `hold`, what earlier sites write further on in this one run.
    """
    carried = carried or Carried(model)

    def at_site(index: int, read: Tensor, write: Tensor) -> Tensor:
        if held_errors is None:
            return write
        dictionary = model.splices[index].dictionary
        acts = dictionary.encode(read)
        carried.keep(index, acts)
        own = dictionary.decode(acts) + dictionary.skip(read)
        return own + held_errors[index] + carried.at(index)

    return at_site
