"""Gates: from pre-activations to activations, one class a kind, and the table of them all.

With `shared = (x - shift) @ W_enc`, the product that every kind has in common:

    relu      relu(shared + b_enc)
    jumprelu  relu(pre) [pre > threshold],  pre = shared + b_enc
    topk      the k largest of pre, and relu of these; pre is in units of the decoder row's norm
              where the dictionary has `magnitude`
    signed_topk  the k largest of pre as they are: of fewer positive ones, negative ones too
    groupmax  the largest of each of k groups of neighbours, and relu of these
    abstopk   the k of largest magnitude of pre, signs kept: such features may be negative
    gated     [shared + b_gate > 0] relu(shared magnitude + b_enc)

All that the rest of the package needs of a gate is that with the set of active features held every
activation is affine in `shared`. A new kind is a new class: give it to a `Dictionary` as its
`kind`; in the table, sae_lens's dictionaries of its `architectures` are read with it too.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

T = TypeVar("T")


@runtime_checkable
class Weights(Protocol):
    """What gates are given of a `Dictionary`; see there."""

    @property
    def b_enc(self) -> Tensor: ...
    @property
    def W_dec(self) -> Tensor: ...
    @property
    def threshold(self) -> Tensor | None: ...
    @property
    def k(self) -> int | None: ...
    @property
    def b_gate(self) -> Tensor | None: ...
    @property
    def magnitude(self) -> Tensor | None: ...


class Gate(ABC):
    """What a dictionary of one kind does between its encoder's product and its activations.

    Attributes:
        name: as digests and messages have it.
        architectures: what sae_lens calls dictionaries of this kind.
        is_by_feature: whether an activation depends on its own pre-activation alone.
        has_signs: whether activations may be negative: a feature is then active where it is not 0.
    """

    name: ClassVar[str]
    architectures: ClassVar[tuple[str, ...]] = ()
    is_by_feature: ClassVar[bool] = True
    has_signs: ClassVar[bool] = False

    @abstractmethod
    def activate(
        self, own: Weights, shared: Float[Tensor, "*lead d_sae"]
    ) -> Float[Tensor, "*lead d_sae"]:
        """The activations; differentiable with the set of active features held."""

    @abstractmethod
    def off_at(self, own: Weights) -> Float[Tensor, " d_sae"] | None:
        """The value without a gate at or below which a feature is 0, and above which it is that.

        None where it depends on the other features.
        """

    def bias(self, own: Weights, features: Int[Tensor, " n_node"]) -> Float[Tensor, " n_node"]:
        """What active features are beside their part of `shared`."""
        return own.b_enc[features]

    def read(self, sae: Any, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """What sae_lens's weights of this kind are in a `Dictionary`, beside the common ones."""
        return {"b_enc": weights["b_enc"]}


class Relu(Gate):
    """`relu(pre)`."""

    name = "relu"
    architectures = ("standard", "transcoder", "skip_transcoder")

    def activate(self, own: Weights, shared: Tensor) -> Tensor:
        return torch.relu(shared + own.b_enc)

    def off_at(self, own: Weights) -> Tensor:
        return torch.zeros_like(own.b_enc)


class JumpRelu(Gate):
    """`relu(pre) [pre > threshold]`; sae_lens also saves BatchTopK dictionaries so."""

    name = "jumprelu"
    architectures = ("jumprelu", "jumprelu_transcoder", "jumprelu_skip_transcoder")

    def activate(self, own: Weights, shared: Tensor) -> Tensor:
        pre = shared + own.b_enc
        return torch.relu(pre) * (pre > given(own.threshold))

    def off_at(self, own: Weights) -> Tensor:
        return given(own.threshold)

    def read(self, sae: Any, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        return {"b_enc": weights["b_enc"], "threshold": weights["threshold"]}


class TopK(Gate):
    """The k largest pre-activations, and relu of these."""

    name = "topk"
    architectures = ("topk",)
    is_by_feature = False

    def activate(self, own: Weights, shared: Tensor) -> Tensor:
        pre = shared + own.b_enc
        pre = pre if own.magnitude is None else pre * own.magnitude
        # As sae_lens: equal values, common in bfloat16, fall to the same features.
        largest, chosen = pre.topk(given(own.k), dim=-1, sorted=False)
        return torch.zeros_like(pre).scatter(-1, chosen, torch.relu(largest))

    def off_at(self, own: Weights) -> None:
        return None

    def bias(self, own: Weights, features: Tensor) -> Tensor:
        bias = own.b_enc[features].to(own.W_dec)
        return bias if own.magnitude is None else bias * own.magnitude[features]

    def read(self, sae: Any, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        found: dict[str, Any] = {"b_enc": weights["b_enc"], "k": int(sae.cfg.k)}
        if sae.cfg.rescale_acts_by_decoder_norm:
            # Features are then measured in units of their decoder row; one without length is off.
            W_dec = weights["W_dec"]
            norm = W_dec.norm(dim=-1)
            found["magnitude"] = norm
            found["W_dec"] = torch.where(norm[:, None] > 0, W_dec / norm[:, None], 0.0)
        return found


class AbsTopK(TopK):
    """The k pre-activations of largest magnitude, with their signs."""

    name = "abstopk"
    architectures = ("abstopk",)
    has_signs = True

    def activate(self, own: Weights, shared: Tensor) -> Tensor:
        pre = shared + own.b_enc
        pre = pre if own.magnitude is None else pre * own.magnitude
        chosen = pre.abs().topk(given(own.k), dim=-1, sorted=False).indices
        return torch.zeros_like(pre).scatter(-1, chosen, pre.gather(-1, chosen))


class SignedTopK(TopK):
    """The k largest pre-activations, as they are: circuit-tracer's, and old ones of sparsify."""

    name = "signed_topk"
    architectures = ()
    has_signs = True

    def activate(self, own: Weights, shared: Tensor) -> Tensor:
        pre = shared + own.b_enc
        largest, chosen = pre.topk(given(own.k), dim=-1, sorted=False)
        return torch.zeros_like(pre).scatter(-1, chosen, largest)


class GroupMax(TopK):
    """The largest pre-activation of each of k groups of neighbours, and relu of these."""

    name = "groupmax"
    architectures = ()

    def activate(self, own: Weights, shared: Tensor) -> Tensor:
        groups = (shared + own.b_enc).unflatten(-1, (given(own.k), -1))
        largest, chosen = groups.max(dim=-1, keepdim=True)
        return torch.zeros_like(groups).scatter(-1, chosen, torch.relu(largest)).flatten(-2)


class Gated(Gate):
    """`[shared + b_gate > 0] relu(shared magnitude + b_enc)`: whether, and how strongly, apart."""

    name = "gated"
    architectures = ("gated",)

    def activate(self, own: Weights, shared: Tensor) -> Tensor:
        is_on = shared + given(own.b_gate) > 0
        return is_on * torch.relu(shared * given(own.magnitude) + own.b_enc)

    def off_at(self, own: Weights) -> Tensor:
        # The value where the gate's path reaches 0.
        return own.b_enc - given(own.magnitude) * given(own.b_gate)

    def read(self, sae: Any, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        return {
            "b_enc": weights["b_mag"],
            "b_gate": weights["b_gate"],
            "magnitude": weights["r_mag"].exp(),
        }


GATES: Final[Mapping[str, Gate]] = {
    gate.name: gate
    for gate in (Relu(), JumpRelu(), TopK(), SignedTopK(), AbsTopK(), GroupMax(), Gated())
}
ARCHITECTURES: Final[Mapping[str, Gate]] = {
    name: gate for gate in GATES.values() for name in gate.architectures
}


def given(value: T | None) -> T:
    """A value that dictionaries of a kind have."""
    assert value is not None, "a dictionary of this kind has this value"
    return value
