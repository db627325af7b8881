"""One dictionary of features as plain tensors, whatever sae_lens calls its kind.

A dictionary turns what it reads, `x`, into features `a` and writes a reconstruction:

    pre = (x - shift) @ W_enc + b_enc
    a   = gate(pre)                                one of `splicing.gates`
    x'  = a @ W_dec + b_dec (+ x @ W_skip)         W_skip: skip transcoders only

Those of a cross-layer transcoder write at later places too, each along directions of its own
(`later`); `x'` is then what is written at the dictionary's own place.

For a fixed set of active features every gate is affine in x, which is what gradients and the frozen
operator use: `a_j = x . e_j + const` with encoder row `e_j` for active j, and 0 otherwise. Some
dictionaries normalise x first (`splicing.normalising`): then rows are a token's own.

Weights are in one dtype, but for a dictionary in bfloat16 or float16 beside a model in less than
float32: it is encoded in its own dtype, as sae_lens does (rounding decides which features TopK
keeps), and everything else is in float32.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saecircuits.splicing.gates import GATES, Gate, given
from saecircuits.splicing.later import Later
from saecircuits.splicing.normalising import Normalisation

_ENCODES = ("W_enc", "b_enc", "shift", "threshold", "b_gate", "magnitude")


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Features at one site. Rows of `W_dec` are the features' directions.

    Attributes:
        kind: the name of a gate of `splicing.gates`, or a gate of your own.
        W_enc: `[d_in, d_sae]`. For gated dictionaries, the shared encoder of gate and magnitude.
        magnitude: gated: multiplies the shared pre-activation (`exp(r_mag)`). TopK: multiplies it
            and its bias, where features are measured in units of their decoder row's norm. Else
            None.
        later: where features write beside their own place; None for all but cross-layer ones.
        b_gate: gated only: the bias of the gate path; `b_enc` is then the magnitude's bias.
        normalisation: what is done to every token before it is encoded; None in most.
        reads: the hook point that it reads, where that is not the one that it writes.
        prepend_bos: whether a BOS stood in front of the texts of its training; None for not said.
        exclude_special_tokens: whether activations at special tokens were left out of its training;
            their ids where only some were.
    """

    kind: str | Gate
    W_enc: Float[Tensor, "d_in d_sae"]
    b_enc: Float[Tensor, " d_sae"]
    W_dec: Float[Tensor, "d_sae d_out"]
    b_dec: Float[Tensor, " d_out"]
    shift: Float[Tensor, " d_in"]
    threshold: Float[Tensor, " d_sae"] | None = None
    k: int | None = None
    b_gate: Float[Tensor, " d_sae"] | None = None
    magnitude: Float[Tensor, " d_sae"] | None = None
    W_skip: Float[Tensor, "d_in d_out"] | None = None
    normalisation: Normalisation | None = None
    neuronpedia_id: str | None = None
    reads: str | None = None
    prepend_bos: bool | None = None
    exclude_special_tokens: bool | tuple[int, ...] | None = None
    later: Later | None = None

    @property
    def gate(self) -> Gate:
        """What turns pre-activations into activations."""
        return self.kind if isinstance(self.kind, Gate) else GATES[self.kind]

    @property
    def d_in(self) -> int:
        """Width of what is read."""
        return self.W_enc.shape[0]

    @property
    def d_out(self) -> int:
        """Width of what is written."""
        return self.W_dec.shape[1]

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return self.W_enc.shape[1]

    @property
    def n_written(self) -> int:
        """Number of places that features write at, their own included."""
        return 1 if self.later is None else 1 + len(self.later.hooks)

    @property
    def width(self) -> int:
        """Width of all that is written, place beside place."""
        return self.n_written * self.d_out

    def directions(
        self, features: Int[Tensor, "*lead"], at: int | None = None
    ) -> Float[Tensor, "*lead _"]:
        """What a unit of some features writes: rows of the decoders.

        Args:
            at: at which of the places, their own being 0; None for all of them side by side.
        """
        if at == 0 or self.later is None:
            return self.W_dec[features]
        if at is not None:
            return self.later.rows(features, at - 1).to(self.W_dec)
        return torch.cat([self.directions(features, at) for at in range(self.n_written)], dim=-1)

    def indices(self, features: Sequence[int]) -> Int[Tensor, " n_node"]:
        """Features by number as an index of the weights, where these are."""
        return torch.tensor(features, dtype=torch.long, device=self.W_enc.device)

    def encode(self, x: Float[Tensor, "*lead d_in"]) -> Float[Tensor, "*lead d_sae"]:
        """Feature activations of `x`; differentiable with the set of active features held."""
        x, size = x.to(self.W_enc), None
        if self.normalisation is not None:
            x, size = self.normalisation.apply(x)
        acts = self.gate.activate(self, (x - self.shift) @ self.W_enc).to(self.W_dec)
        is_turned_back = self.normalisation is not None and self.normalisation.is_undone
        return acts * size.to(acts) if size is not None and is_turned_back else acts

    def encode_some(
        self, x: Float[Tensor, "*lead d_in"], features: Int[Tensor, " n_chosen"]
    ) -> Float[Tensor, "*lead n_chosen"]:
        """The activations of chosen features, which may repeat."""
        if not self.gate.is_by_feature:
            return self.encode(x)[..., features]
        names = ("b_enc", "W_dec", "threshold", "b_gate", "magnitude")
        there = {name: getattr(self, name) for name in names}
        rows = {name: value[features] for name, value in there.items() if value is not None}
        W_enc = self.W_enc.index_select(1, features)
        return replace(self, W_enc=W_enc, later=None, **rows).encode(x)

    def decode(self, acts: Float[Tensor, "*lead d_sae"]) -> Float[Tensor, "*lead d_out"]:
        """The part of the reconstruction that the features write, `b_dec` included."""
        if self.later is None:
            return acts @ self.W_dec + self.b_dec
        # Of decoders that may be left in a file, the rows of active features alone are read.
        used = active_in(acts)
        return acts[..., used] @ self.W_dec[used] + self.b_dec

    def skip(self, x: Float[Tensor, "*lead d_in"]) -> Float[Tensor, "*lead d_out"] | float:
        """What a skip transcoder writes beside its features; 0.0 for every other kind."""
        return 0.0 if self.W_skip is None else x @ self.W_skip

    def reconstruct(self, x: Float[Tensor, "*lead d_in"]) -> Float[Tensor, "*lead d_out"]:
        """`decode(encode(x))` plus the skip term."""
        return self.decode(self.encode(x)) + self.skip(x)

    def encoder_rows(self, features: Int[Tensor, " n_node"]) -> Float[Tensor, "n_node d_in"]:
        """`e_j`, the derivative of an active feature j with respect to what is encoded: what is
        read, but for dictionaries that normalise it.
        """
        rows = self.W_enc.index_select(1, features).T.to(self.W_dec)
        return rows if self.magnitude is None else rows * self.magnitude[features, None]

    def rows_at(
        self, features: Int[Tensor, " n_row"], x: Float[Tensor, "n_row d_in"] | None
    ) -> Float[Tensor, "n_row d_in"]:
        """The derivative of features that are active, each at a token of its own.

        Args:
            x: what is read there; None will do for a dictionary that does not normalise.
        """
        rows = self.encoder_rows(features)
        if self.normalisation is None:
            return rows
        constants = self.biases(features) - rows @ self.shift.to(rows)
        return self.normalisation.pull_back(rows, constants[:, None], given(x))

    def rows_summed(
        self,
        weights: Float[Tensor, "n_token n_chosen"],
        features: Int[Tensor, " n_chosen"],
        x: Float[Tensor, "n_token d_in"] | None,
    ) -> Float[Tensor, "n_token d_in"]:
        """At every token, the sum of the derivatives of active features, each times a weight.

        Args:
            weights: sparse; 0 where a feature is off.
            x: what is read there; None will do for a dictionary that does not normalise.
        """
        rows = self.encoder_rows(features)
        summed = torch.sparse.mm(weights, rows)
        if self.normalisation is None:
            return summed
        constants = self.biases(features) - rows @ self.shift.to(rows)
        constants = torch.sparse.mm(weights, constants[:, None])
        return self.normalisation.pull_back(summed, constants, given(x).to(rows))

    def biases(self, features: Int[Tensor, " n_node"]) -> Float[Tensor, " n_node"]:
        """What an active feature is beside `(x - shift) . e_j`."""
        return self.gate.bias(self, features).to(self.W_dec)

    def ungated(
        self, x: Float[Tensor, "*lead d_in"], features: Int[Tensor, " n_node"]
    ) -> Float[Tensor, "*lead n_node"]:
        """What features would be, negative values too, if nothing held them at 0."""
        unit = self.unit(x)
        if self.normalisation is not None:
            x, _ = self.normalisation.apply(x)
        ungated = (x - self.shift) @ self.encoder_rows(features).T + self.biases(features)
        return ungated * unit

    def unit(self, x: Float[Tensor, "*lead d_in"]) -> Float[Tensor, "*lead 1"] | float:
        """What `off_at` is counted in at a token: 1, or its size where features have the stream's
        units.
        """
        return 1.0 if self.normalisation is None else self.normalisation.unit(x)

    def off_at(self, features: Int[Tensor, " n_node"]) -> Float[Tensor, " n_node"] | None:
        """The `ungated` value at or below which a feature is 0, and above which it is that value,
        in the token's `unit`.

        0 for ReLU, the threshold for JumpReLU; for gated dictionaries where the gate's path
        reaches 0. None for TopK, where it depends on all the other features.
        """
        least = self.gate.off_at(self)
        return None if least is None else least[features].clamp(min=0).to(self.W_dec)

    def pull_back(
        self,
        cotangent: Float[Tensor, "*lead d_sae"],
        active: Bool[Tensor, "*lead d_sae"],
        x: Float[Tensor, "*lead d_in"] | None,
    ) -> Float[Tensor, "*lead d_in"]:
        """Vector-Jacobian product of `encode`, the set of active features held.

        Args:
            x: what is read; None will do for a dictionary that does not normalise.
        """
        through = cotangent * active
        scaled = through if self.magnitude is None else through * self.magnitude
        rows = scaled @ self.W_enc.T.to(self.W_dec)
        if self.normalisation is None:
            return rows
        every = torch.arange(self.d_sae, device=through.device)
        constants = through @ self.biases(every) - rows @ self.shift.to(rows)
        return self.normalisation.pull_back(rows, constants[..., None], given(x))

    def to(self, like: Tensor) -> "Dictionary":
        """The same dictionary for a model whose tensors are like `like`: on its device, and in its
        dtype; float32 where that is less, and what encodes in the wider of the model's and its own.
        """
        working = torch.promote_types(like.dtype, torch.float32)
        encoding = torch.promote_types(like.dtype, self.W_enc.dtype)
        if encoding.itemsize >= working.itemsize:
            encoding = working
        moved = {
            name: value.to(device=like.device, dtype=encoding if name in _ENCODES else working)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    def digest(self) -> str:
        """SHA-256 over kind and weights: two dictionaries with one digest are the same."""
        kind = f"{self.gate.name} {self.k}"
        if self.normalisation is not None:
            kind += f" {self.normalisation}"
        sha = hashlib.sha256(kind.encode())
        for name, value in sorted(vars(self).items()):
            if isinstance(value, Tensor):
                sha.update(name.encode())
                # As bytes: numpy has no bfloat16.
                raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)
                sha.update(raw.numpy().tobytes())
        if self.later is not None:
            self.later.add_to(sha)
        return sha.hexdigest()


def active_in(acts: Float[Tensor, "*lead n_feature"]) -> Int[Tensor, " n_active"]:
    """Which columns are not zero throughout."""
    return acts.detach().flatten(0, -2).any(0).nonzero()[:, 0]
