"""Components that are affine maps of the residual stream: `o = M r + b`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

# Of streams `[*lead, pos, d_model]`; leading axes are worked on side by side.
StreamMap: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class AffineComponent:
    """What a component writes: `o = M r + b`.

    Attributes:
        name: such as `L3.H5` or `L3.MLP`.
        linear: M, for streams with any leading axes.
        bias: b, which is written whatever is read.
    """

    name: str
    linear: StreamMap
    bias: Float[Tensor, "pos d_model"]


@dataclass(frozen=True, eq=False)
class Step:
    """Components that read the same stream, so that no path passes two of them.

    Attributes:
        together: the sum of their maps, where that is quicker than map by map.
    """

    components: tuple[AffineComponent, ...]
    together: StreamMap | None = None

    def linear(self, stream: Float[Tensor, "*lead pos d_model"]) -> Tensor:
        """`sum_c M_c r`, in a tensor of its own."""
        if self.together is not None:
            return self.together(stream)
        first, *others = self.components
        return sum((one.linear(stream) for one in others), start=first.linear(stream))

    @property
    def bias(self) -> Float[Tensor, "pos d_model"]:
        """`sum_c b_c`."""
        first, *others = self.components
        return sum((one.bias for one in others), start=first.bias)
