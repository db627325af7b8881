"""A prompt's run as affine components, read off the anatomy of the run.

Under `secant` and `frozen` every component is affine in the stream that it reads, `o = M r + b`.
M is pushed forward through the recorded norms, patterns and gates. b is what the component was seen
to write less `M r` of what it was seen to read, so that the components reproduce the run but for
rounding, and every bias is in it: of norms, values (through the pattern), outputs and MLPs, and
under `frozen` the intercept `phi(z) - phi'(z) z` of every tangent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.errors import UnknownNameError
from saecircuits.splicing import SplicedModel, record_operator
from saecircuits.splicing.anatomy import Anatomy, take_apart
from saecircuits.splicing.anatomy.attention import Attention
from saecircuits.splicing.anatomy.mlps import Mlp
from saecircuits.splicing.anatomy.recording import Recording, record
from saecircuits.theory import AffineComponent, Step

By: TypeAlias = Literal["layer", "head"]
AffineOperator: TypeAlias = Literal["secant", "frozen"]


@dataclass(frozen=True, eq=False)
class AffineRun:
    """A run and the affine model that reproduces it.

    Attributes:
        tokens: the prompt.
        source: x_0, the stream that enters the first block: token embeddings, and position
            embeddings where the model adds them to the stream.
        stream: T, the stream that enters the final norm.
        steps: what reads the same stream is one step: a layer's heads, or an MLP, or all of a block
            whose attention and MLP read the same stream.
        outputs: step by step, what each component was seen to write.
        attention_steps: by layer, the index of the step that its attention layer is part of;
            `mlp_steps` that of its MLP.
    """

    recording: Recording
    anatomy: Anatomy
    tokens: Int[Tensor, " pos"]
    source: Float[Tensor, "pos d_model"]
    stream: Float[Tensor, "pos d_model"]
    steps: tuple[Step, ...]
    outputs: tuple[Float[Tensor, "_ pos d_model"], ...]
    attention_steps: tuple[int, ...]
    mlp_steps: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """Names of all components, in order."""
        return [component.name for step in self.steps for component in step.components]


def check_choices(operator: str, by: str) -> None:
    """Raises UnknownNameError unless the operator is affine and `by` is layer or head."""
    for what, name, known in (
        ("operator", operator, AffineOperator),
        ("unit of attention", by, By),
    ):
        if name not in get_args(known):
            raise UnknownNameError(what, name, get_args(known))


@torch.no_grad()
def affine_run(
    model: SplicedModel,
    tokens: Int[Tensor, " pos"],
    *,
    operator: str = "secant",
    by: str = "layer",
) -> AffineRun:
    """One prompt's run as affine components.

    Args:
        by: whether an attention layer is one component (`L3.attention`) or each of its heads is
            (`L3.H5`); then what the layer adds beside its heads is one more, `L3.bias`.

    Raises:
        UnknownNameError: the operator is not affine, or `by` is neither layer nor head.
        NotCoveredError: the model has a part that its anatomy does not know.
    """
    check_choices(operator, by)
    kind: Any = operator
    held = record_operator(model.bridge, tokens[None], kind=kind)
    anatomy = take_apart(model, tokens[None], held)
    recording = record(model, tokens[None], held)
    steps: list[Step] = []
    outputs: list[Tensor] = []
    places: tuple[list[int], list[int]] = ([], [])
    for layer, block in enumerate(anatomy.blocks):
        hooks = recording.block(layer)
        before = recording[hooks.before][0]
        attention = _attention(recording, layer, block.attention, before, by=by)
        middle = before if block.is_parallel else before + recording[hooks.attention_out][0]
        mlp = _component(
            f"L{layer}.MLP", partial(_push, block.mlp), middle, recording[hooks.mlp_out][0]
        )
        places[0].append(len(steps))
        if block.is_parallel:
            groups = [([*attention, mlp], (block.attention, block.mlp))]
        else:
            groups = [(attention, (block.attention,)), ([mlp], (block.mlp,))]
        for group, parts in groups:
            components = tuple(component for component, _ in group)
            steps.append(Step(components, together=partial(_push_all, parts)))
            outputs.append(torch.stack([written for _, written in group]))
        places[1].append(len(steps) - 1)
    first, last = recording.block(0).before, recording.block(len(anatomy.blocks) - 1).after
    return AffineRun(
        recording, anatomy, tokens, recording[first][0], recording[last][0],
        steps=tuple(steps), outputs=tuple(outputs),
        attention_steps=tuple(places[0]), mlp_steps=tuple(places[1]),
    )  # fmt: skip


# A component, and what it was seen to write.
_Seen: TypeAlias = tuple[AffineComponent, Tensor]


def _component(name: str, linear: partial[Tensor], read: Tensor, written: Tensor) -> _Seen:
    return AffineComponent(name, linear, bias=written - linear(read)), written


def _attention(
    recording: Recording, layer: int, attention: Attention, read: Tensor, *, by: str
) -> list[_Seen]:
    hooks = recording.block(layer)
    added = recording[hooks.attention_out][0]
    if by == "layer":
        return [_component(f"L{layer}.attention", partial(_push, attention), read, added)]
    results = recording[hooks.attention.heads]
    found = [
        _component(
            f"L{layer}.H{head}",
            partial(_push_head, attention, head),
            read,
            attention.push_from_head(results[:, :, head], head)[0],
        )
        for head in range(len(attention.W_O))
    ]
    rest = added - sum(written for _, written in found)
    return [*found, _component(f"L{layer}.bias", partial(torch.zeros_like), read, rest)]


def _push_all(parts: Sequence[Attention | Mlp], stream: Tensor) -> Tensor:
    first, *others = parts
    return sum((_push(part, stream) for part in others), start=_push(first, stream))


def _push(part: Attention | Mlp, stream: Tensor) -> Tensor:
    return part.push(stream.unsqueeze(-3)).squeeze(-3)


def _push_head(attention: Attention, head: int, stream: Tensor) -> Tensor:
    return attention.push_head(stream.unsqueeze(-3), head).squeeze(-3)
