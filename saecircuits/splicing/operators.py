"""The model as an operator: as it is, or with its non-linearities frozen at a prompt.

    full     the model itself
    frozen   attention patterns and norm scales are constants, recorded at the clean prompt;
             activation functions are the model's own (their derivative is the tangent gate)
    secant   as frozen, and each activation function is multiplication by its recorded secant gate
             phi(z)/z; a gated MLP holds its gate branch. The operator is affine in the stream and
             reproduces the clean run exactly (THEORY: the repaired expansion; the gates are the
             rule set known as RelP)

An operator is a function of the stream like any other, so gradients, integrated gradients and
interventions all have a meaning under it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from saecircuits.errors import NotCoveredError, UnknownNameError
from saecircuits.splicing.hooking import Hook, attached, recording, remember
from saecircuits.splicing.inference import inference_settings
from saecircuits.splicing.part_hooks import (
    Nonlinearity,
    attention_hooks,
    mlp_hooks,
    nonlinearity_at,
    norm_scale_hooks,
    part_without_gates,
)

# As where a bridge is compared with its model: rounding alone is less.
_TOLERANCE: Final = 1e-2

Linearization: TypeAlias = Literal["full", "frozen", "secant"]
T = TypeVar("T")


def check_linearization(name: str) -> None:
    """Raises UnknownNameError unless `name` is full, frozen or secant."""
    if name not in get_args(Linearization):
        raise UnknownNameError("linearization", name, get_args(Linearization))


@dataclass(frozen=True, eq=False)
class Operator:
    """What is held constant in a forward pass: tensor by hook name, for one batch of prompts.

    Attributes:
        constants: hook name to the value that replaces the tensor there.
        gates: hook name after an activation function to (hook name of what it multiplies, gate).
        mixtures: hook name of heads' results to (hook name of values, attention pattern), for
            models that show a pattern only after its use: the results are computed anew from it.
    """

    kind: Linearization
    constants: dict[str, Tensor]
    gates: dict[str, tuple[str, Tensor]]
    mixtures: dict[str, tuple[str, Tensor]]

    def repeated(self, times: int) -> "Operator":
        """The same operator for the batch laid `times` times one after the other."""
        return Operator(
            kind=self.kind,
            constants={name: _tile(value, times) for name, value in self.constants.items()},
            gates={name: (pre, _tile(gate, times)) for name, (pre, gate) in self.gates.items()},
            mixtures={
                name: (values, _tile(pattern, times))
                for name, (values, pattern) in self.mixtures.items()
            },
        )

    @property
    def held(self) -> frozenset[Nonlinearity]:
        """What is held."""
        return frozenset(map(nonlinearity_at, (*self.constants, *self.gates, *self.mixtures)))

    def without(self, freed: Collection[Nonlinearity]) -> "Operator":
        """The same with some of what is held as it is in the model."""

        def kept(held: dict[str, T]) -> dict[str, T]:
            return {
                name: value for name, value in held.items() if nonlinearity_at(name) not in freed
            }

        return Operator(self.kind, kept(self.constants), kept(self.gates), kept(self.mixtures))

    def hooks(self) -> list[Hook]:
        """Hooks that turn the bridge's forward pass into this operator."""
        held = [(name, _replace_by(value)) for name, value in self.constants.items()]
        computed = []
        for post, (pre, gate) in self.gates.items():
            seen: list[Tensor] = []
            computed += [(pre, remember(seen)), (post, _multiply(seen, gate))]
        for heads, (values, pattern) in self.mixtures.items():
            seen = []
            computed += [(values, remember(seen)), (heads, _mix(seen, pattern))]
        return [*held, *computed]


FULL = Operator(kind="full", constants={}, gates={}, mixtures={})


def record_operator(
    bridge: Any, tokens: Int[Tensor, "batch pos"], *, kind: Linearization
) -> Operator:
    """The operator of `kind` at these prompts, from one forward pass of the unspliced model.

    A second pass, of the operator itself, must reproduce the first.

    Raises:
        NotCoveredError: the model has parts that are not held, or are held wrongly.
    """
    check_linearization(kind)
    if kind == "full":
        return FULL
    points = bridge.hook_dict
    names = set(points)
    if kind == "secant" and (part := part_without_gates(sorted(names))):
        raise NotCoveredError(
            f"{part}, which has no secant gates: the operator would not be affine; use "
            "linearization='frozen' or 'full'"
        )
    attentions = attention_hooks(names)
    constant_names = [*(attention.pattern for attention in attentions), *norm_scale_hooks(names)]
    mlps = mlp_hooks(names) if kind == "secant" else ()
    wanted = [
        *constant_names,
        *(attention.heads for attention in attentions),
        *(name for mlp in mlps for name in (mlp.pre, mlp.post, mlp.up)),
    ]
    with torch.no_grad(), recording(bridge, points, filter(None, wanted)) as seen:
        logits = bridge(tokens)
    gates = {}
    for mlp in mlps:
        multiplied = mlp.up or mlp.pre
        gates[mlp.post] = (multiplied, _secant(seen[mlp.post], seen[multiplied]))
    order = list(seen)
    mixtures = {
        attention.heads: (attention.v, seen.pop(attention.pattern))
        for attention in attentions
        if order.index(attention.pattern) > order.index(attention.heads)
    }
    constants = {name: seen[name] for name in constant_names if name in seen}
    operator = Operator(kind=kind, constants=constants, gates=gates, mixtures=mixtures)
    _check_reproduces(bridge, tokens, operator, logits)
    return operator


@torch.no_grad()
def _check_reproduces(bridge: Any, tokens: Tensor, operator: Operator, logits: Tensor) -> None:
    with inference_settings(bridge), attached(bridge, bridge.hook_dict, operator.hooks()):
        gap = float((bridge(tokens) - logits).nan_to_num().abs().max())
    size = float(logits[logits.isfinite()].abs().max())
    if gap > max(_TOLERANCE, 8 * torch.finfo(logits.dtype).eps) * size:
        raise NotCoveredError(
            f"the model ({type(bridge.original_model).__name__}) under the operator "
            f"{operator.kind!r}, with patterns and norm scales held, does not reproduce its own "
            f"logits: off by {gap:.3g} of {size:.3g}; use linearization='full'"
        )


def _secant(post: Tensor, multiplied: Tensor) -> Tensor:
    # Where the input is zero so is the output, and any gate reproduces it: 1/2, the limit of
    # GELU's and SiLU's, is as good as any.
    is_zero = multiplied == 0
    return torch.where(is_zero, 0.5, post / torch.where(is_zero, 1.0, multiplied))


def _tile(value: Tensor, times: int) -> Tensor:
    # A pattern or scale that does not depend on the prompt may come with batch size 1.
    return value if value.shape[0] == 1 else value.repeat(times, *[1] * (value.ndim - 1))


def _replace_by(value: Tensor) -> Callable[..., Tensor]:
    return lambda tensor, hook: value


def _mix(seen: list[Tensor], pattern: Tensor) -> Callable[..., Tensor]:
    def hook(tensor: Tensor, hook: Any) -> Tensor:
        values = seen[0].repeat_interleave(tensor.shape[2] // seen[0].shape[2], 2)
        return torch.einsum("bhts,bshd->bthd", pattern, values)

    return hook


def _multiply(seen: list[Tensor], gate: Tensor) -> Callable[..., Tensor]:
    return lambda tensor, hook: seen[0] * gate
