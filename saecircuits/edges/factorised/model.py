"""A clean run taken apart: for every block, the maps that its derivatives are made of.

What a Jacobian needs is recorded by hooks in one forward pass (norm scales, queries, keys, values,
attention patterns, pre-activations) and read from the bridge (weights). Nothing is believed: every
weight must reproduce, from what was recorded before it, what was recorded after it, and the model
is refused where one does not. With the operator's linearization,

    norm        dN(x) = w * (I - n n^T / d) (dx - mean dx) / scale   n = normalised x; the mean for
                                         LayerNorm only; the n n^T term only where scales move
    MLP         d out = W_out (gate * W_in dx)   gate = phi'(pre), or phi(pre)/pre under `secant`;
                a gated MLP is the sum over its two branches, under `secant` the one that moves
    attention   see `edges.factorised.attention`
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.edges.factorised.attention import Attention, Norm, read_attention
from saecircuits.edges.factorised.checks import NotCoveredError, agree, linear_agrees
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.operators import Operator, remember

_SQRT_2_OVER_PI = 0.7978845608028654


@dataclass(frozen=True, eq=False)
class Mlp:
    """Derivative of an MLP at every token, as a sum over its branches.

    Attributes:
        branches: per branch the gate at every token, and the weights that read the MLP's input.
        norm: what the MLP's input passes first.
        post_norm: what its output passes before it joins the stream; None in most models.
    """

    W_out: Float[Tensor, "d_mlp d_model"]
    branches: tuple[tuple[Float[Tensor, "batch pos d_mlp"], Float[Tensor, "d_model d_mlp"]], ...]
    norm: Norm
    post_norm: Norm | None

    def pull_back(
        self,
        cotangent: Float[Tensor, "n_row d_model"],
        prompt: Int[Tensor, " n_row"],
        pos: Int[Tensor, " n_row"],
    ) -> Float[Tensor, "n_row d_model"]:
        """Vector-Jacobian product from what the MLP adds to the stream to the stream it reads."""
        if self.post_norm is not None:
            cotangent = self.post_norm.pull_back(cotangent, prompt, pos)
        hidden = cotangent @ self.W_out.T
        read = torch.zeros_like(cotangent)
        for gate, W_read in self.branches:
            read += (hidden * gate[prompt, pos]) @ W_read.T
        return self.norm.pull_back(read, prompt, pos)


@dataclass(frozen=True, eq=False)
class Block:
    """One layer: its attention, its MLP, and whether both read the same stream."""

    attention: Attention
    mlp: Mlp
    is_parallel: bool


@dataclass(frozen=True, eq=False)
class Unembedding:
    """The end of the model: final norm, unembedding, and the slope of a soft-cap on logits."""

    norm: Norm
    W_U: Float[Tensor, "d_model d_vocab"]
    slope: Float[Tensor, "batch pos d_vocab"] | None


@dataclass(frozen=True, eq=False)
class TakenApart:
    """All of a run. `token_scale`: what the embedding is multiplied by on entering the stream."""

    blocks: tuple[Block, ...]
    unembedding: Unembedding
    token_scale: float


@torch.no_grad()
def take_apart(
    model: SplicedModel, tokens: Int[Tensor, "batch pos"], operator: Operator
) -> TakenApart:
    """One forward pass under the operator, and every map read off it and checked.

    Raises:
        NotCoveredError: something in the model is not what this engine knows.
    """
    bridge = model.bridge
    seen, logits = _record(model, tokens, operator)
    is_held = operator.kind != "full"
    try:
        blocks = tuple(
            _block(bridge, layer, seen, operator, is_held=is_held)
            for layer in range(int(bridge.cfg.n_layers))
        )
        unembedding = _unembedding(bridge, seen, logits, is_held=is_held)
        return TakenApart(blocks, unembedding, _token_scale(seen))
    except RuntimeError as error:  # torch's word for shapes that do not fit
        raise NotCoveredError(f"tensors have other shapes than expected: {error}") from error


def _record(
    model: SplicedModel, tokens: Int[Tensor, "batch pos"], operator: Operator
) -> tuple[dict[str, Tensor], Tensor]:
    ends = (
        *("hook_resid_pre", "hook_resid_post", "hook_attn_out", "hook_mlp_out"),
        *("hook_scale", "hook_normalized", "ln1.hook_out", "ln2.hook_out", "_post.hook_out"),
        *("_post.hook_in", "ln_final.hook_out", "mlp.hook_in", "mlp.hook_pre"),
        *("mlp.hook_pre_linear", "mlp.hook_post", "mlp.hook_out", "attn.hook_out"),
        *("attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z", "attn.hook_pattern"),
        *("attn.hook_attn_scores", "attn.hook_cos", "attn.hook_sin"),
        *("hook_embed", "hook_pos_embed", "unembed.hook_out"),
    )
    known = model.bridge.hook_dict
    boxes: dict[str, list[Tensor]] = {name: [] for name in known if name.endswith(ends)}
    with ExitStack() as stack:
        hooks = [(name, remember(box)) for name, box in boxes.items()]
        stack.enter_context(model.bridge.hooks(fwd_hooks=hooks))
        logits = model.forward(tokens, operator=operator)
    seen = {name: box[0] for name, box in boxes.items() if box}
    # Recorded before the operator puts its constants in their place.
    seen |= {name: value for name, value in operator.constants.items() if name in seen}
    return {name: value.to(model.dtype) for name, value in seen.items()}, logits


def _block(
    bridge: Any, layer: int, seen: Mapping[str, Tensor], operator: Operator, *, is_held: bool
) -> Block:
    stem = f"blocks.{layer}"
    module = bridge.blocks[layer]
    for name in ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post"):
        if f"{stem}.{name}" not in seen:
            raise NotCoveredError(f"block {layer} has no {name}")
    pre, post = seen[f"{stem}.hook_resid_pre"], seen[f"{stem}.hook_resid_post"]
    middle = pre + seen[f"{stem}.hook_attn_out"]
    agree(f"the stream of block {layer}", middle + seen[f"{stem}.hook_mlp_out"], post)
    is_parallel = bool(getattr(bridge.cfg, "parallel_attn_mlp", False))
    norm_1 = _norm(module, f"{stem}.ln1", seen, bridge, reads=pre, is_held=is_held)
    norm_2 = _norm(
        module, f"{stem}.ln2", seen, bridge, reads=pre if is_parallel else middle, is_held=is_held
    )
    post_1, post_2 = (
        _norm(module, name, seen, bridge, reads=seen[f"{name}.hook_in"], is_held=is_held)
        if f"{name}.hook_in" in seen
        else None
        for name in (f"{stem}.ln1_post", f"{stem}.ln2_post")
    )
    attention = read_attention(bridge, layer, seen, norms=(norm_1, post_1), is_held=is_held)
    mlp = _mlp(bridge, layer, seen, operator, norms=(norm_2, post_2))
    return Block(attention, mlp, is_parallel)


def _norm(
    parent: Any,
    stem: str,
    seen: Mapping[str, Tensor],
    bridge: Any,
    *,
    reads: Tensor,
    is_held: bool,
) -> Norm:
    module = getattr(parent, stem.rsplit(".", 1)[-1], None)
    if module is None or f"{stem}.hook_scale" not in seen:
        raise NotCoveredError(f"{stem} is no norm with a recorded scale")
    is_rms = bool(module.uses_rms_norm)
    weight = _weight(module, "weight", stem)
    if is_rms and getattr(bridge.cfg, "rmsnorm_uses_offset", False):
        weight = 1 + weight
    scale, normalized = seen[f"{stem}.hook_scale"], seen[f"{stem}.hook_normalized"]
    centred = reads if is_rms else reads - reads.mean(-1, keepdim=True)
    agree(f"{stem} (normalised)", centred / scale, normalized)
    out = seen[f"{stem}.hook_out"]
    linear_agrees(f"{stem} (weight)", normalized * weight, out)
    return Norm(weight, scale, normalized, is_rms=is_rms, is_held=is_held)


def _mlp(
    bridge: Any,
    layer: int,
    seen: Mapping[str, Tensor],
    operator: Operator,
    *,
    norms: tuple[Norm, Norm | None],
) -> Mlp:
    stem = f"blocks.{layer}.mlp"
    module = bridge.blocks[layer].mlp
    if f"{stem}.hook_pre" not in seen or f"{stem}.hook_post" not in seen:
        raise NotCoveredError(f"{stem} records no activations")
    pre, post = seen[f"{stem}.hook_pre"], seen[f"{stem}.hook_post"]
    up = seen.get(f"{stem}.hook_pre_linear")
    W_in, W_out = _weight(module, "W_in", stem), _weight(module, "W_out", stem)
    read, out = seen[f"blocks.{layer}.ln2.hook_out"], seen[f"{stem}.hook_out"]
    act, slope = _activation(str(bridge.cfg.act_fn))
    linear_agrees(f"{stem} (W_out)", post @ W_out, out)
    gates = operator.gates.get(f"{stem}.hook_post")
    if up is None:
        linear_agrees(f"{stem} (W_in)", read @ W_in, pre)
        agree(f"{stem} (activation function)", act(pre), post)
        branches = ((slope(pre) if gates is None else gates[1], W_in),)
    else:
        W_gate = _weight(module, "W_gate", stem)
        linear_agrees(f"{stem} (W_gate)", read @ W_gate, pre)
        linear_agrees(f"{stem} (W_in)", read @ W_in, up)
        agree(f"{stem} (activation function)", act(pre) * up, post)
        both = ((up * slope(pre), W_gate), (act(pre), W_in))
        branches = both if gates is None else ((gates[1], W_in),)
    return Mlp(W_out, branches, *norms)


def _weight(module: Any, name: str, stem: str) -> Tensor:
    weight = getattr(module, name, None)
    if weight is None:
        raise NotCoveredError(f"{stem} has no {name}")
    return weight.detach()


def _unembedding(
    bridge: Any, seen: Mapping[str, Tensor], logits: Tensor, *, is_held: bool
) -> Unembedding:
    last = seen[f"blocks.{int(bridge.cfg.n_layers) - 1}.hook_resid_post"]
    norm = _norm(bridge, "ln_final", seen, bridge, reads=last, is_held=is_held)
    W_U = bridge.unembed.W_U.detach()
    raw = seen["unembed.hook_out"]
    linear_agrees("the unembedding", seen["ln_final.hook_out"] @ W_U, raw)
    cap = float(getattr(bridge.cfg, "output_logits_soft_cap", None) or -1.0)
    if cap <= 0:
        agree("the logits", raw, logits)
        return Unembedding(norm, W_U, None)
    agree("the soft-cap on logits", cap * torch.tanh(raw / cap), logits)
    return Unembedding(norm, W_U, 1 - torch.tanh(raw / cap) ** 2)


def _token_scale(seen: Mapping[str, Tensor]) -> float:
    """What the embedding is multiplied by: 1, or the square root of d_model in some models."""
    embedded = seen["hook_embed"]
    entered = seen["blocks.0.hook_resid_pre"] - seen.get("hook_pos_embed", 0.0)
    scale = float((embedded * entered).sum() / (embedded * embedded).sum())
    scale = 1.0 if abs(scale - 1) < 1e-5 else scale
    agree("the stream's beginning", scale * embedded, entered)
    return scale


def _activation(name: str) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """An activation function and its derivative, by the name in the model's configuration."""
    match name:
        case "gelu":
            return torch.nn.functional.gelu, _gelu_slope
        case "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast":
            return lambda z: torch.nn.functional.gelu(z, approximate="tanh"), _tanh_gelu_slope
        case "silu" | "swish":
            return torch.nn.functional.silu, _silu_slope
        case "relu":
            return torch.relu, lambda z: (z > 0).to(z)
        case _:
            raise NotCoveredError(
                f"the derivative of the activation function {name!r} is not written down"
            )


def _gelu_slope(z: Tensor) -> Tensor:
    normal = torch.distributions.Normal(torch.zeros_like(z), torch.ones_like(z))
    return normal.cdf(z) + z * torch.exp(normal.log_prob(z))


def _tanh_gelu_slope(z: Tensor) -> Tensor:
    # phi(z) = z (1 + tanh t) / 2 with t = sqrt(2 / pi) (z + 0.044715 z^3)
    tanh = torch.tanh(_SQRT_2_OVER_PI * (z + 0.044715 * z**3))
    inner = _SQRT_2_OVER_PI * (1 + 3 * 0.044715 * z**2)
    return (1 + tanh) / 2 + z * (1 - tanh**2) * inner / 2


def _silu_slope(z: Tensor) -> Tensor:
    gate = torch.sigmoid(z)
    return gate * (1 + z * (1 - gate))
