"""Random cross-layer transcoders, and what they do once more by hand, with every hook written out.

`Hand` takes from the package nothing but the weights, which are drawn here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from saecircuits.nodes.contrast import Contrast
from saecircuits.splicing import splice
from saecircuits.splicing.cross_layer import CrossLayerTranscoder
from tests.by_hand import hand_metric
from tests.models import Toy, toy_prompts

D_FEATURES = (17, 19, 23)  # another number in every layer
Edit = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Weights:
    """Of every layer; `W_dec` is `[d_sae, n_layers - layer, d_model]`."""

    W_enc: list[Tensor]
    b_enc: list[Tensor]
    W_dec: list[Tensor]
    b_dec: list[Tensor]
    threshold: list[Tensor]
    W_skip: list[Tensor] | None = None

    def transcoder(self, reads: str) -> CrossLayerTranscoder:
        """As the package takes it."""
        return CrossLayerTranscoder.from_weights(reads, **vars(self))


def draw_weights(n_layers: int, d_model: int, *, seed: int = 0, with_skip: bool = False) -> Weights:
    """Random weights, about a third of the features active."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, size: float) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * size

    layers, size = range(n_layers), d_model**-0.5
    return Weights(
        W_enc=[normal(d_model, D_FEATURES[layer], size=size) for layer in layers],
        b_enc=[normal(D_FEATURES[layer], size=0.2) for layer in layers],
        W_dec=[normal(D_FEATURES[layer], n_layers - layer, d_model, size=size) for layer in layers],
        b_dec=[normal(d_model, size=0.2) for _ in layers],
        threshold=[normal(D_FEATURES[layer], size=0.3).abs() for layer in layers],
        W_skip=[normal(d_model, d_model, size=size / 3) for _ in layers] if with_skip else None,
    )


@dataclass(frozen=True, eq=False)
class CrossLayerToy(Toy):
    """A spliced random model, its prompts, and the weights of its cross-layer transcoder."""

    weights: Weights = field(kw_only=True)


def cross_layer_toy(
    bridge: Any, reads: str, *, seed: int = 0, with_skip: bool = False
) -> CrossLayerToy:
    """A random cross-layer transcoder in a model, and prompts for it."""
    d_model = bridge.cfg.d_model
    weights = draw_weights(bridge.cfg.n_layers, d_model, seed=seed, with_skip=with_skip)
    model = splice(bridge, weights.transcoder(reads), name="toy")
    return CrossLayerToy(model, toy_prompts(bridge), weights=weights)


@dataclass(frozen=True, eq=False)
class Run:
    """A run by hand.

    Attributes:
        acts: of every layer what features are in the stream that they read.
        errors: of every layer what all features, as they read, leave of its MLP's output.
        written: of every layer what took the place of its MLP's output.
        skipped: of every layer what its skip weights, if it has any, make of what it reads.
    """

    acts: list[Tensor]
    errors: list[Tensor]
    written: list[Tensor]
    skipped: list[Tensor]
    metric: Tensor


class Hand:
    """A contrast's clean prompts on the bare bridge. Position 0 (BOS) is never changed."""

    def __init__(self, toy: CrossLayerToy, contrast: Contrast) -> None:
        self.weights, self.contrast = toy.weights, contrast
        self.bridge, self.prompts = toy.model.bridge, contrast.prompts
        self.reads = [splice.site.read_hook for splice in toy.model.splices]
        self.n_layers = len(self.reads)
        self.is_held = contrast.error_policy == "hold"
        with torch.no_grad():
            self.clean = self.run(is_held=False)

    def run(
        self,
        features: Mapping[int, Edit] | None = None,
        errors: Mapping[int, Edit] | None = None,
        *,
        writes: Callable[[int, Tensor, Tensor], Tensor] | None = None,
        tokens: Edit | None = None,
        is_held: bool | None = None,
    ) -> Run:
        """A run in which layers pass on other features, or another error, than they read.

        Args:
            writes: what takes the place of an MLP's output, given the layer, what would, and
                what of it skip weights make of what the layer reads.
            tokens: what takes the place of token embeddings.
        """
        features, errors = features or {}, errors or {}
        held = self.is_held if is_held is None else is_held
        w, acts, passed = self.weights, list[Tensor](), list[Tensor]()
        left, written, skipped = list[Tensor](), list[Tensor](), list[Tensor]()

        def read(tensor: Tensor, hook: Any) -> None:
            layer = len(acts)
            pre = tensor @ w.W_enc[layer] + w.b_enc[layer]
            acts.append(torch.relu(pre) * (pre > w.threshold[layer]))
            none = torch.zeros_like(tensor)
            skipped.append(none if w.W_skip is None else tensor @ w.W_skip[layer])
            passed.append(features.get(layer, lambda x: x)(acts[layer]))

        def write(tensor: Tensor, hook: Any) -> Tensor:
            layer = len(left)

            def decoded(of: list[Tensor]) -> Tensor:
                return sum(
                    (of[s] @ w.W_dec[s][:, layer - s] for s in range(layer + 1)),
                    w.b_dec[layer] + skipped[layer],
                )

            left.append(tensor - decoded(acts))
            error = self.clean.errors[layer] if held else left[layer]
            out = decoded(passed) + errors.get(layer, lambda x: x)(error)
            out = out if writes is None else writes(layer, out, skipped[layer])
            is_bos = torch.arange(tensor.shape[1])[:, None] == 0
            written.append(torch.where(is_bos, tensor, out))
            return written[layer]

        hooks = [(name, read) for name in self.reads]
        hooks += [(f"blocks.{layer}.hook_mlp_out", write) for layer in range(self.n_layers)]
        if tokens is not None:
            hooks.append(("hook_embed", lambda tensor, hook: tokens(tensor)))
        logits = self.bridge.run_with_hooks(
            self.contrast.tokens, fwd_hooks=[*hooks, *self._operator()]
        )
        return Run(acts, left, written, skipped, hand_metric(logits, self.prompts))

    def _operator(self) -> list[tuple[str, Callable[..., Tensor]]]:
        constants = self.contrast.operator.constants
        return [
            (name, lambda tensor, hook, value=value: value) for name, value in constants.items()
        ]
