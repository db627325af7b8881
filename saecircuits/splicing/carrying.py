"""What is written at a place by the features of several: its own, and those of earlier places.

    written_t = sum over s that write at t, over i, of a_{s,i} d_{s,i,t}  +  b_t (+ skip) + e_t

A SAE or a per-layer transcoder writes at its own place alone, and the sum has one term. A feature
of a cross-layer transcoder writes at its own layer's MLP output and at every later one's.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.splicing.activations import Activations, sparse_matrix
from saecircuits.splicing.dictionary import Dictionary, active_in
from saecircuits.splicing.model import SplicedModel


def decoded(
    dictionary: Dictionary, acts: Activations, at: int = 0
) -> Float[Tensor, "batch pos d_out"]:
    """What activations write at one of the places that their dictionary writes at."""
    if dictionary.later is None:
        return acts.decode(dictionary.W_dec)
    # Rows of active features alone are read.
    used, column = acts.feature.unique(return_inverse=True)
    shape = (acts.matrix.shape[0], len(used))
    matrix = sparse_matrix(torch.stack([acts.token, column]), acts.value, shape)
    return Activations(matrix, acts.n_batch).decode(dictionary.directions(used, at))


def all_decoded(dictionary: Dictionary, acts: Activations) -> Float[Tensor, "batch pos _"]:
    """What activations write at all these places, side by side."""
    parts = [decoded(dictionary, acts, at) for at in range(dictionary.n_written)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def decoded_at(
    model: SplicedModel, acts: Callable[[int], Activations], index: int
) -> Float[Tensor, "batch pos d_out"]:
    """What the features of all sites write at one.

    Args:
        acts: from a site to its activations.
    """
    own, *others = (
        decoded(model.splices[place].dictionary, acts(place), at)
        for place, at in model.writers(index)
    )
    return sum(others, own)


class Carried:
    """What the features of earlier places write at later ones, in one run of the model.

    Args:
        known: the activations of every site in the run that this one departs from: what is written
            by a site that this run does not call.
        times: how often the batch is laid.
    """

    def __init__(
        self, model: SplicedModel, known: Sequence[Activations] = (), times: int = 1
    ) -> None:
        self._model, self._known, self._times = model, known, times
        self._acts: dict[int, tuple[Tensor, Tensor]] = {}

    def keep(
        self,
        index: int,
        acts: Float[Tensor, "*lead n_feature"],
        features: Int[Tensor, " n_feature"] | None = None,
    ) -> None:
        """Remembers activations at a site, where they are written further on.

        Args:
            features: which they are; None for all of the dictionary, in order.
        """
        if len(self._model.reach(index)) == 1:
            return
        if features is None:
            features = active_in(acts)
            acts = acts[..., features]
        self._acts[index] = (features, acts)

    def at(self, index: int) -> Float[Tensor, "*lead d_out"] | float:
        """What is written at a site by those before it; 0.0 where none of them writes there."""
        total: Tensor | float = 0.0
        for place, at in self._model.writers(index)[1:]:
            total = total + self._one(place, at)
        return total

    def _one(self, place: int, at: int) -> Tensor:
        dictionary = self._model.splices[place].dictionary
        if place in self._acts:
            features, acts = self._acts[place]
            return acts @ dictionary.directions(features, at)
        return decoded(dictionary, self._known[place], at).repeat(self._times, 1, 1)


def beside(
    model: SplicedModel, by_site: dict[int, Float[Tensor, "*lead d_out"]]
) -> dict[int, Float[Tensor, "*lead _"]]:
    """Of every site, what there is at all the sites that it writes at, side by side.

    Args:
        by_site: a tensor for every site.
    """
    found: dict[int, Tensor] = {}
    whole: dict[tuple[int, ...], Tensor] = {}
    for place in sorted(by_site):
        reach = model.reach(place)
        # The later of two layers reaches a tail of what the earlier one reaches: a view does.
        longer = next((known for known in whole if known[-len(reach) :] == reach), None)
        if longer is None:
            longer = reach
            parts = [by_site[t] for t in reach]
            whole[reach] = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        found[place] = whole[longer][..., -model.splices[place].dictionary.width :]
    return found


def part_at(
    model: SplicedModel, place: int, index: int, beside: Float[Tensor, "*lead _"]
) -> Float[Tensor, "*lead d_out"] | None:
    """Of what a site writes, side by side, the part at another site; None where it writes none."""
    reach = model.reach(place)
    if index not in reach:
        return None
    if len(reach) == 1:
        return beside
    d_out = model.splices[place].dictionary.d_out
    start = reach.index(index) * d_out
    return beside[..., start : start + d_out]


def alone(
    model: SplicedModel, place: int, own: Float[Tensor, "*lead d_out"]
) -> Float[Tensor, "*lead _"]:
    """What is written at a site's own place and nowhere else, side by side with nothing."""
    dictionary = model.splices[place].dictionary
    more = dictionary.width - dictionary.d_out
    return torch.nn.functional.pad(own, (0, more)) if more else own
