"""What a site writes with its nodes anywhere between their baseline and what they now are.

    written = start + (share_f * change_f) @ W_dec + share_error * change_error

The share of a node is 0 at its baseline and 1 where it is passed on as it is in the stream that is
read: a truth value in node ablation, a number where masks are learned or interactions are played.
`start` has every node at its baseline, and what belongs to no node: `b_dec` and skip weights. Error
nodes are those of the stream that is read (`recompute`) or of the clean run (`hold`). What features
of earlier sites write at this one is part of `start`, each with its own share (`Further`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.interventions import ERROR
from saecircuits.splicing.carrying import Carried, decoded_at
from saecircuits.splicing.dictionary import active_in


@dataclass(frozen=True, eq=False)
class Asked:
    """The nodes of a site that are asked about; all others are at their baseline.

    Attributes:
        features: their features, in the order of the shares; None for all.
        has_errors: whether error nodes are among them.
    """

    features: Int[Tensor, " n_feature"] | None = None
    has_errors: bool = True

    @property
    def n_node(self) -> int:
        """How many shares a unit has, that of its error node included."""
        assert self.features is not None
        return len(self.features) + 1


EVERY = Asked()


def asked_about(features: Iterable[int], device: torch.device) -> tuple[Asked, dict[int, int]]:
    """Some features of a site, `ERROR` for its error nodes, and the share that is each one's."""
    named = set(features)
    some = sorted(named - {ERROR})
    chosen = torch.tensor(some, dtype=torch.long, device=device)
    shares = {feature: column for column, feature in enumerate([*some, ERROR])}
    return Asked(chosen, ERROR in named), shares


@dataclass(frozen=True, eq=False)
class Write:
    """What one site can write at some tokens.

    Attributes:
        start: with the nodes that are asked about at their baseline.
        acts: of every feature, what it is now less its baseline.
        directions: of every feature, its row of `W_dec`.
        error: what the error is now, less its baseline; None if no error node is asked about.
        lost: what the features are now, where `error` still holds what they write.
    """

    start: Float[Tensor, "*set token d_out"]
    acts: Float[Tensor, "*set token n_feature"]
    directions: Float[Tensor, "n_feature d_out"]
    error: Float[Tensor, "*set token d_out"] | None
    lost: Float[Tensor, "*set token n_feature"] | None = None

    def of(self, shares: Shaped[Tensor, "*sets token _"]) -> Float[Tensor, "*sets token d_out"]:
        """What is written with these shares of every feature and, last, of the error node."""
        acts = shares[..., :-1] * self.acts
        if self.error is None:
            return self.start + acts @ self.directions
        shares_of_error = shares[..., -1:]
        if self.lost is not None:
            acts = torch.addcmul(acts, shares_of_error.to(acts), self.lost, value=-1)
        return self.start + shares_of_error * self.error + acts @ self.directions

    def of_states(self, states: Int[Tensor, " n_set"]) -> "Write":
        """The same for a set of nodes each, given which of the streams that were read is its."""
        error = None if self.error is None else self.error[states]
        assert self.lost is None
        return replace(self, start=self.start[states], acts=self.acts[states], error=error)

    def among(self, now: Float[Tensor, "*set token d_out"]) -> "Write":
        """The same, with all nodes that are not asked about as they are now.

        Args:
            now: what is written if nothing is at its baseline.
        """
        assert self.lost is None
        start = now - self.acts @ self.directions
        return replace(self, start=start if self.error is None else start - self.error)


class Further:
    """What features write at sites behind their own, in one run: of use for cross-layer ones."""

    def __init__(self, contrast: Contrast) -> None:
        self._contrast = contrast
        self._read, self._passed = Carried(contrast.model), Carried(contrast.model)

    def reads(self, index: int, acts: Float[Tensor, "*set token d_sae"]) -> None:
        """The features of a site are these in the stream that is read."""
        self._read.keep(index, acts)

    def passes(
        self, index: int, write: Write, asked: Asked, shares: Shaped[Tensor, "*sets token _"]
    ) -> None:
        """A site writes with these shares."""
        if len(self._contrast.reach(index)) == 1:
            return
        used = active_in(write.acts)
        acts = (shares[..., :-1] * write.acts)[..., used]
        self._passed.keep(index, acts, used if asked.features is None else asked.features[used])

    def read_at(self, index: int) -> Float[Tensor, "*set token d_out"] | float:
        """What earlier sites' features would write at a site, none of them at its baseline."""
        return self._read.at(index)

    def passed_to(self, index: int) -> Float[Tensor, "*sets token d_out"] | float:
        """What they do write there, less what they write at their baselines."""
        return self._passed.at(index)


def write_at(
    contrast: Contrast,
    index: int,
    rows: Int[Tensor, " token"],
    asked: Asked = EVERY,
    *,
    read: Float[Tensor, "*set batch pos d_in"],
    write: Float[Tensor, "*set batch pos d_out"],
    further: Further | None = None,
) -> Write:
    """What a site can write, given what it reads.

    Args:
        rows: the tokens, counted through the batch.
        write: what the model itself writes there.
        further: of the run, where features write at later sites; told here what they read.
    """
    further = further or Further(contrast)
    dictionary = contrast.model.splices[index].dictionary
    clean, base = contrast.clean.sites[index], contrast.baseline.sites[index]

    def at(values: Tensor) -> Tensor:
        return values.flatten(-3, -2)[..., rows, :]

    x = at(read)
    rest = dictionary.b_dec + dictionary.skip(x)
    sites = contrast.baseline.sites
    features = decoded_at(contrast.model, lambda place: sites[place].activations, index)
    start = at(features + base.error) + rest + further.passed_to(index)
    if asked.features is None:
        now, before, directions = dictionary.encode(x), at(base.features), dictionary.W_dec
    else:
        now = dictionary.encode_some(x, asked.features)
        before = at(base.activations.of(asked.features))
        directions = dictionary.W_dec[asked.features]
    wide = (*now.shape[:-1], -1)
    error, lost = None, None
    if asked.has_errors and contrast.holds_errors:
        error = (at(clean.error) - at(base.error)).expand(wide)
    elif asked.has_errors and asked.features is None:
        # One product with W_dec serves the features and what they leave out.
        error, lost = at(write) - rest - at(base.error) - further.read_at(index), now
    elif asked.has_errors:
        error = at(write) - dictionary.reconstruct(x) - at(base.error) - further.read_at(index)
    if len(contrast.reach(index)) > 1:
        further.reads(index, now if asked.features is None else dictionary.encode(x))
    return Write(start.expand(wide), now - before, directions, error, lost)


def put(
    written: Float[Tensor, "*sets token d_out"],
    rows: Int[Tensor, " token"],
    into: Float[Tensor, "*set batch pos d_out"],
) -> Float[Tensor, "*sets batch pos d_out"]:
    """What the model itself writes, with something else at some tokens; gradients flow."""
    whole = into.flatten(-3, -2).expand(*written.shape[:-2], -1, -1).clone()
    whole[..., rows, :] = written
    return whole.unflatten(-2, into.shape[-3:-1])


def tokens_where(inside: Bool[Tensor, "batch pos"]) -> Int[Tensor, " token"]:
    """Tokens, counted through the batch."""
    return inside.flatten().nonzero()[:, 0]


def shares_of_tokens(
    shares: Shaped[Tensor, "*set unit n_node"], contrast: Contrast, rows: Int[Tensor, " token"]
) -> Shaped[Tensor, "*set token n_node"]:
    """Of every token the shares of its unit's nodes."""
    return shares[..., contrast.units.clean.flatten()[rows], :]
