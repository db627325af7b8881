"""A whole run taken apart: its blocks, how it begins and how it ends."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.splicing.anatomy.attention import Attention, read_attention
from saecircuits.splicing.anatomy.checks import NotCoveredError
from saecircuits.splicing.anatomy.mlps import Mlp, read_mlp
from saecircuits.splicing.anatomy.norms import Norm, no_norm, read_norm
from saecircuits.splicing.anatomy.recording import Recording, record, times
from saecircuits.splicing.model import AtSite, AtTokens, SplicedModel
from saecircuits.splicing.operators import FULL, Operator
from saecircuits.splicing.part_hooks import NormHooks, final_norm_hooks, unembedding_hooks
from saecircuits.splicing.sites import POSITION_HOOK, TOKEN_HOOK


@dataclass(frozen=True, eq=False)
class Block:
    """One layer: its attention, its MLP, and whether both read the same stream."""

    attention: Attention
    mlp: Mlp
    is_parallel: bool


@dataclass(frozen=True, eq=False)
class Unembedding:
    """The end of the model: final norm, unembedding, and the slope of a soft-cap on logits.

    Attributes:
        W_U: times `scale`; behind the projection of the stream where there is one.
        scale: what the model multiplies its logits by; 1 in most models.
    """

    norm: Norm
    W_U: Float[Tensor, "d_model d_vocab"]
    slope: Float[Tensor, "batch pos d_vocab"] | None
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Anatomy:
    """All of a run.

    Attributes:
        token_scale: what the embedding is multiplied by on entering the stream; not known (NaN)
            from a run that is not the model's own.
        scales: what components and logits are multiplied by, as it was measured.
    """

    blocks: tuple[Block, ...]
    unembedding: Unembedding
    token_scale: float
    scales: Mapping[str, float]


@torch.no_grad()
def take_apart(
    model: SplicedModel,
    tokens: Int[Tensor, "batch pos"],
    operator: Operator,
    *,
    at_site: AtSite | None = None,
    at_tokens: AtTokens | None = None,
    own: Anatomy | None = None,
) -> Anatomy:
    """One forward pass under the operator, and every map read off it and checked.

    Args:
        at_site, at_tokens: what is put in the place of what sites and tokens write, as in
            `SplicedModel.forward`. The maps are then those of a run that is not the model's own,
            and are not checked.
        own: for such a run, the anatomy of the model's own on any tokens.

    Raises:
        NotCoveredError: something in the model is not what is known here.
    """
    scales = None if own is None else own.scales
    recording = record(model, tokens, operator, at_site=at_site, at_tokens=at_tokens, scales=scales)
    try:
        blocks = tuple(
            _block(recording, layer) for layer in range(int(recording.setting("n_layers")))
        )
        end, token_scale = _unembedding(recording), _token_scale(recording)
        return Anatomy(blocks, end, token_scale, recording.scales)
    except RuntimeError as error:  # torch's word for shapes that do not fit
        raise NotCoveredError(f"tensors have other shapes than expected: {error}") from error


def _block(recording: Recording, layer: int) -> Block:
    hooks = recording.block(layer)
    if hooks.attention_out not in recording:
        raise NotCoveredError(f"block {layer} has no attention layer")
    if hooks.mlp.experts in recording.model.hook_points:
        raise NotCoveredError(f"{hooks.mlp.module} is a mixture of experts")
    before, after = recording[hooks.before], recording[hooks.after]
    added = recording[hooks.attention_out], recording[hooks.mlp_out]
    recording.agree(f"the stream of block {layer}", before + added[0] + added[1], after)
    is_parallel = bool(recording.setting("parallel_attn_mlp", False))
    middle = before if is_parallel else before + added[0]
    post_1 = _post_norm(recording, (hooks.ln1_post, hooks.ln1), hooks.attention_out)
    post_2 = _post_norm(recording, (hooks.ln2_post, hooks.ln2), hooks.mlp_out)
    ln2 = hooks.ln1 if is_parallel and hooks.ln2.out not in recording else hooks.ln2
    norm_1, read_1 = _pre_norm(recording, hooks.ln1, before, is_after=post_1 == hooks.ln1)
    norm_2, read_2 = _pre_norm(recording, ln2, middle, is_after=post_2 == ln2)
    attention = read_attention(
        recording,
        hooks.attention,
        ends=(read_1, added[0] if post_1 is None else recording[post_1.reads]),
        norms=(norm_1, _read_post_norm(recording, post_1)),
    )
    mlp = read_mlp(
        recording,
        hooks.mlp,
        ends=(read_2, added[1] if post_2 is None else recording[post_2.reads]),
        norms=(norm_2, _read_post_norm(recording, post_2)),
    )
    return Block(attention, mlp, is_parallel)


def _post_norm(
    recording: Recording, candidates: tuple[NormHooks, ...], added: str
) -> NormHooks | None:
    """The norm whose result is itself what a component adds to the stream."""
    points = recording.model.hook_points
    return next((norm for norm in candidates if points.get(norm.out) is points[added]), None)


def _read_post_norm(recording: Recording, hooks: NormHooks | None) -> Norm | None:
    return None if hooks is None else read_norm(recording, hooks, reads=recording[hooks.reads])


def _pre_norm(
    recording: Recording, hooks: NormHooks, stream: Tensor, *, is_after: bool
) -> tuple[Norm, Tensor]:
    """The norm that a component reads by, and what it reads; the stream itself without a norm."""
    if is_after:
        return no_norm(stream), stream
    return read_norm(recording, hooks, reads=stream), recording[hooks.out]


@torch.no_grad()
def read_out(model: SplicedModel) -> Unembedding:
    """The end of the model by itself, at a few tokens: what its streams become logits by.

    Raises:
        NotCoveredError: more than a norm and linear maps lies between the stream and the logits.
    """
    size = min(4, model.n_ctx)
    tokens = torch.arange(2 * size, device=model.device) % int(model.bridge.cfg.d_vocab)
    return _unembedding(record(model, tokens.unflatten(0, (2, size)), FULL))


def _unembedding(recording: Recording) -> Unembedding:
    hooks, end = final_norm_hooks(), unembedding_hooks()
    stream = recording.block(int(recording.setting("n_layers")) - 1).after
    if hooks.out in recording:
        norm = read_norm(recording, hooks, reads=recording[hooks.reads])
        normed = recording[hooks.out]
    else:
        # The model ends with its last block, which norms what it writes or is not normed at all.
        normed = recording[stream] if stream in recording else recording[end.reads]
        norm = no_norm(normed)
    projection = recording.optional_weight(end.projection)
    projected = normed if projection is None else normed @ projection.T
    recording.linear_agrees("the end of the stream", projected, recording[end.reads])
    W_U, raw = recording.weight(end.module, "W_U"), recording[end.logits]
    recording.linear_agrees("the unembedding", projected @ W_U, raw)
    W_U = W_U if projection is None else projection.T @ W_U
    cap = float(recording.setting("output_logits_soft_cap", -1.0))
    if cap <= 0:
        scale = recording.scale_of("the scale of logits", raw, recording.logits)
        recording.agree("the logits", scale * raw, recording.logits)
        return Unembedding(norm, times(W_U, scale), None, scale)
    recording.agree("the soft-cap on logits", cap * torch.tanh(raw / cap), recording.logits)
    return Unembedding(norm, W_U, 1 - torch.tanh(raw / cap) ** 2)


def _token_scale(recording: Recording) -> float:
    """What the embedding is multiplied by: 1, or the square root of d_model in some models."""
    if not recording.is_own:
        return float("nan")
    embedded, entered = recording[TOKEN_HOOK], recording[recording.block(0).before]
    if POSITION_HOOK in recording:
        entered = entered - recording[POSITION_HOOK]
    scale = float((embedded * entered).sum() / (embedded * embedded).sum())
    scale = 1.0 if abs(scale - 1) < 1e-5 else scale
    recording.agree("the stream's beginning", scale * embedded, entered)
    return scale
