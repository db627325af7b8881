"""Components by name: attention layers, heads, MLPs and neurons, and where their results are.

`L2.ATTN` is the attention layer of block 2, `L2.H3` one head of it, `L2.MLP` the MLP, `L2.N17` one
neuron. What an attention layer or MLP adds to the stream is its result; of a head it is what it
makes before the output weights, of a neuron its activation: setting these is setting what they add.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.splicing.hooking import Hook, recording
from saecircuits.splicing.model import SplicedModel
from saecircuits.splicing.part_hooks import block_hooks

ComponentKind: TypeAlias = Literal["attention", "head", "mlp", "neuron"]
_WORDS: Final = {"ATTN": "attention", "H": "head", "MLP": "mlp", "N": "neuron"}
_NAME: Final = re.compile(r"L(?P<layer>\d+)\.(?:(?P<whole>ATTN|MLP)|(?P<part>H|N)(?P<index>\d+))")


@dataclass(frozen=True, order=True)
class Component:
    """One component.

    Attributes:
        index: of the head or neuron; 0 for whole layers.
    """

    layer: int
    kind: ComponentKind
    index: int = 0

    @property
    def name(self) -> str:
        """As `parse_component` reads it."""
        word = next(word for word, kind in _WORDS.items() if kind == self.kind)
        return f"L{self.layer}.{word}{self.index if self.is_part else ''}"

    @property
    def is_part(self) -> bool:
        """True for heads and neurons."""
        return self.kind in ("head", "neuron")


def is_component(name: str) -> bool:
    """Whether a name has the form of a component's."""
    return _NAME.fullmatch(name) is not None


def parse_component(model: SplicedModel, name: str) -> Component:
    """The component of a name.

    Raises:
        InputError: no such name, or a layer, head or neuron that the model does not have.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(
            f"{name!r} is no component; components look like 'L2.ATTN', 'L2.H3', 'L2.MLP', 'L2.N17'"
        )
    kind: ComponentKind = _WORDS[match["whole"] or match["part"]]  # pyright: ignore
    component = Component(int(match["layer"]), kind, int(match["index"] or 0))
    if component.layer >= model.n_layers:
        raise InputError(f"{name!r} asks for layer {component.layer} of {model.n_layers}")
    if component.index >= width(model, component.kind):
        raise InputError(
            f"{name!r} asks for number {component.index}; the layer has "
            f"{width(model, component.kind)}, counted from 0"
        )
    return component


def width(model: SplicedModel, kind: ComponentKind) -> int:
    """How many components of a kind one layer has."""
    if kind == "head":
        return int(model.bridge.cfg.n_heads)
    return int(model.bridge.cfg.d_mlp) if kind == "neuron" else 1


def result_hook(model: SplicedModel, layer: int, kind: ComponentKind) -> str:
    """The name of the tensor that holds the results of one kind of component in one layer."""
    names = block_hooks(layer, model.hook_points)
    match kind:
        case "attention":
            return names.attention_out
        case "head":
            return names.attention.heads
        case "mlp":
            return names.mlp_out
        case "neuron":
            return names.mlp.post


@torch.no_grad()
def results(
    model: SplicedModel,
    tokens: Int[Tensor, "batch pos"],
    layers: Sequence[tuple[int, ComponentKind]],
) -> dict[tuple[int, ComponentKind], Float[Tensor, "batch pos n_component width"]]:
    """What these components make in a run of the model as it is, without dictionaries."""
    hooks = {which: result_hook(model, *which) for which in layers}
    with recording(model.bridge, model.hook_points, set(hooks.values())) as seen:
        model.forward(tokens)
    return {
        (layer, kind): seen[name].reshape(*tokens.shape, width(model, kind), -1)
        for (layer, kind), name in hooks.items()
    }


def moved(
    model: SplicedModel,
    layer: int,
    kind: ComponentKind,
    less: Float[Tensor, "many pos n_component width"],
) -> Hook:
    """The hook that takes something away from the results of one layer's components."""
    return result_hook(
        model, layer, kind
    ), lambda tensor, hook: tensor - less.reshape(tensor.shape).to(tensor)


def replaced(
    model: SplicedModel,
    layer: int,
    kind: ComponentKind,
    keep: Bool[Tensor, "n_set n_component"],
    other: Float[Tensor, "batch pos n_component width"],
) -> Hook:
    """The hook that leaves the results of kept components and sets those of all others.

    Args:
        keep: for every set; the batch is laid once per set.
    """
    keeps = keep[:, None, None, :, None]

    def hook(tensor: Tensor, hook: object) -> Tensor:
        found = tensor.reshape(len(keep), *other.shape)
        return torch.where(keeps, found, other.to(tensor)).reshape(tensor.shape)

    return result_hook(model, layer, kind), hook


def check_disjoint(components: Collection[Component]) -> None:
    """Raises InputError where one component is part of another."""
    whole = {"head": "attention", "neuron": "mlp"}
    layers = {(component.layer, component.kind): component.name for component in components}
    for component in components:
        other = layers.get((component.layer, whole.get(component.kind, "")))  # pyright: ignore
        if other is not None:
            raise InputError(f"{component.name!r} is a part of {other!r}; give one of the two")
