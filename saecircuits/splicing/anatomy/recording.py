"""What one forward pass leaves behind: tensors by hook name, and the modules they came from."""

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.splicing.anatomy.checks import NotCoveredError, agree, linear_agrees
from saecircuits.splicing.hooking import recording, widened
from saecircuits.splicing.model import AtSite, AtTokens, SplicedModel
from saecircuits.splicing.operators import Operator
from saecircuits.splicing.part_hooks import (
    BlockHooks,
    block_hooks,
    final_norm_hooks,
    unembedding_hooks,
)
from saecircuits.splicing.sites import POSITION_HOOK, TOKEN_HOOK


@dataclass(frozen=True, eq=False)
class Recording:
    """One forward pass under an operator.

    Attributes:
        tensors: by hook name, what the model computed there.
        is_own: True for a run of the model as it is, whose weights must reproduce what was
            recorded; False where what sites write was put there.
        scales: by map, what `scale_of` has measured; beforehand those of the model's own run, for
            one that is not.
    """

    model: SplicedModel
    operator: Operator
    tensors: dict[str, Tensor]
    logits: Float[Tensor, "batch pos d_vocab"]
    is_own: bool
    scales: dict[str, float]

    def agree(self, what: str, computed: Tensor, recorded: Tensor) -> None:
        """`checks.agree`, for runs of the model as it is."""
        if self.is_own:
            agree(what, computed, recorded, dtype=self.model.dtype)

    def linear_agrees(self, what: str, computed: Tensor, recorded: Tensor) -> None:
        """`checks.linear_agrees`, likewise."""
        if self.is_own:
            linear_agrees(what, computed, recorded, dtype=self.model.dtype)

    def scale_of(self, what: str, computed: Tensor, recorded: Tensor) -> float:
        """What a linear map known up to a bias is multiplied by on the way to what was recorded.

        1 in most models; some multiply what a component adds, or the logits, by a constant. It is
        measured in the model's own run: where something else was put there, nothing tells it.

        Raises:
            NotCoveredError: no number does.
        """
        if not self.is_own:
            return self.scales[what]
        if computed.shape != recorded.shape:
            self.agree(what, computed, recorded)
        change, there = (x - x[:, :1] for x in (computed, recorded))
        scale = float((change * there).sum() / (change * change).sum().clamp(min=1e-30))
        scale = 1.0 if abs(scale - 1) < 1e-3 else scale
        self.linear_agrees(what, scale * computed, recorded)
        self.scales[what] = scale
        return scale

    @property
    def is_held(self) -> bool:
        """True where attention patterns and norm scales are constants of the operator."""
        return self.operator.kind != "full"

    def __contains__(self, hook: str) -> bool:
        return hook in self.tensors

    def __getitem__(self, hook: str) -> Tensor:
        """The tensor recorded at a hook point; NotCoveredError if the model has none there."""
        if hook not in self.tensors:
            raise NotCoveredError(f"the model records no {hook}")
        return self.tensors[hook]

    def setting(self, name: str, default: Any = None) -> Any:
        """An entry of the bridge's configuration; the default also in place of None."""
        value = getattr(self.model.bridge.cfg, name, None)
        return default if value is None else value

    def module(self, name: str) -> Any:
        """The bridge's module of that name."""
        try:
            return self.model.bridge.get_submodule(name)
        except AttributeError as error:
            raise NotCoveredError(f"the model has no {name}") from error

    def weight(self, module: str, name: str) -> Tensor:
        """A weight of a module, out of autograd's sight."""
        try:
            weight = getattr(self.module(module), name, None)
        except Exception:  # a bridge's properties say in ways of their own that there is none
            weight = None
        if weight is None:
            raise NotCoveredError(f"{module} has no {name}")
        return widened(weight.detach())

    def optional_weight(self, module: str) -> Tensor | None:
        """The weight of a module that most models have not."""
        owner = getattr(self.model.bridge, module, None)
        return None if owner is None else widened(owner.weight.detach())

    def block(self, layer: int) -> BlockHooks:
        """The names of one block."""
        return block_hooks(layer, self.model.hook_points)


def times(weight: Tensor, scale: float) -> Tensor:
    """A weight times a scale; itself, and no copy, where that is 1 as in most models."""
    return weight if scale == 1.0 else weight * scale


@torch.no_grad()
def record(
    model: SplicedModel,
    tokens: Int[Tensor, "batch pos"],
    operator: Operator,
    *,
    at_site: AtSite | None = None,
    at_tokens: AtTokens | None = None,
    scales: Mapping[str, float] | None = None,
) -> Recording:
    """One forward pass under the operator, with everything kept that its anatomy is read from.

    Args:
        scales: of the model's own run, for one in which sites and tokens write something else.
    """
    known = model.hook_points
    names = {TOKEN_HOOK, POSITION_HOOK, *_strings(astuple(final_norm_hooks()))}
    names.update(_strings(astuple(unembedding_hooks())))
    for layer in range(int(model.bridge.cfg.n_layers)):
        names.update(_strings(astuple(block_hooks(layer, known))))
    wanted = [name for name in names if name in known]
    with recording(model.bridge, known, wanted) as tensors:
        logits = model.forward(tokens, at_site=at_site, at_tokens=at_tokens, operator=operator)
    # Recorded before the operator puts its constants in their place.
    tensors |= {name: value for name, value in operator.constants.items() if name in tensors}
    tensors = {
        name: _by_prompt(value.to(model.working_dtype), tokens) for name, value in tensors.items()
    }
    is_own = at_site is None and at_tokens is None
    return Recording(model, operator, tensors, logits, is_own, dict(scales or {}))


def _by_prompt(tensor: Tensor, tokens: Tensor) -> Tensor:
    """A tensor of all tokens, which some models lay one after the other, prompt by prompt."""
    is_flat = tensor.ndim == 2 and len(tensor) == tokens.numel()
    return tensor.unflatten(0, tokens.shape) if is_flat else tensor


def _strings(nested: tuple[Any, ...]) -> Iterator[str]:
    for item in nested:
        if isinstance(item, tuple):
            yield from _strings(item)
        elif item is not None:
            yield item
