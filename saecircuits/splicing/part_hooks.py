"""Hook points inside a model's blocks: norms, attention layers and MLPs, by what they are.

Beside `splicing.sites`, which has the places of dictionaries, the only module that spells hook
names.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from saecircuits.splicing.sites import BLOCK_HOOK, LOGITS_HOOK, layer_of_hook


def norm_scale_hooks(known_hooks: Collection[str]) -> tuple[str, ...]:
    """Hook points of what each norm divides by: standard deviation or root mean square."""
    return tuple(name for name in known_hooks if name.endswith(".hook_scale"))


NonlinearityKind: TypeAlias = Literal["softmax", "norm", "activation"]


@dataclass(frozen=True)
class Nonlinearity:
    """Something in a model that is not linear.

    Attributes:
        layer: of the block; None for the final norm.
    """

    kind: NonlinearityKind
    layer: int | None

    def __str__(self) -> str:
        match self.kind:
            case "softmax":
                return f"the attention patterns of layer {self.layer}"
            case "norm" if self.layer is None:
                return "the scale of the final norm"
            case "norm":
                return f"the scales of the norms in layer {self.layer}"
            case "activation":
                return f"the MLP's activation functions in layer {self.layer}"


def nonlinearity_at(hook: str) -> Nonlinearity:
    """Which one an operator holds at a hook point: a norm's scale, or a pattern, or an MLP."""
    kind: NonlinearityKind = "softmax"
    if hook.endswith(".hook_scale"):
        kind = "norm"
    elif ".mlp." in hook:
        kind = "activation"
    return Nonlinearity(kind, layer_of_hook(hook))


@dataclass(frozen=True)
class NormHooks:
    """Names around a norm: `normalized = reads / scale` (LayerNorm: centred), then weight and bias.

    Attributes:
        module: the norm's own name.
    """

    module: str
    reads: str
    scale: str
    normalized: str
    out: str


@dataclass(frozen=True)
class AttentionHooks:
    """Names inside an attention layer.

    Attributes:
        module: the layer's own name.
        q: queries by head, before rotary positions; so are the keys `k`, which may be fewer.
        v: values by head, as many as keys.
        q_norm: the norm that queries pass in some models; `k_norm` that of keys.
        cos: cosines of the rotary angles; `sin` their sines.
        scores: what the softmax is taken of, and `pattern` what comes of it.
        heads: the heads' results, before the output weights.
    """

    module: str
    q: str
    k: str
    v: str
    q_norm: NormHooks
    k_norm: NormHooks
    cos: str
    sin: str
    scores: str
    pattern: str
    heads: str


@dataclass(frozen=True)
class MlpHooks:
    """Names inside an MLP: `post = act(pre)`, or `act(pre) * up` if it is gated.

    Attributes:
        module: the MLP's own name.
        up: what the activation is multiplied by; None if the MLP is not gated.
        experts: what a mixture of experts chooses by; other MLPs have none.
    """

    module: str
    pre: str
    post: str
    up: str | None
    experts: str


@dataclass(frozen=True)
class BlockHooks:
    """Names of one block.

    Attributes:
        before: the stream that enters the block; `after` the stream that leaves it.
        attention_out: what the attention layer adds to the stream; `mlp_out` what the MLP adds.
        ln1: the norm that the attention layer reads by, or in some models writes by.
        ln2: that of the MLP.
        ln1_post: the norm that the attention layer's result passes, where there are both.
        ln2_post: that of the MLP.
    """

    before: str
    after: str
    attention: AttentionHooks
    attention_out: str
    mlp: MlpHooks
    mlp_out: str
    ln1: NormHooks
    ln2: NormHooks
    ln1_post: NormHooks
    ln2_post: NormHooks


def block_hooks(layer: int, known_hooks: Collection[str]) -> BlockHooks:
    """The names of one block."""
    stem = f"blocks.{layer}"
    return BlockHooks(
        before=f"{stem}.hook_resid_pre",
        after=f"{stem}.hook_resid_post",
        attention=_attention_hooks(f"{stem}.attn"),
        attention_out=f"{stem}.hook_attn_out",
        mlp=_mlp_hooks(f"{stem}.mlp", known_hooks),
        mlp_out=f"{stem}.hook_mlp_out",
        ln1=_norm_hooks(f"{stem}.ln1"),
        ln2=_norm_hooks(f"{stem}.ln2"),
        ln1_post=_norm_hooks(f"{stem}.ln1_post"),
        ln2_post=_norm_hooks(f"{stem}.ln2_post"),
    )


@dataclass(frozen=True)
class UnembeddingHooks:
    """Names behind the final norm.

    Attributes:
        module: the unembedding's own name.
        projection: the name of what narrows the stream first, in the models that do.
        reads: what is unembedded, and `logits` what comes of it, before any scale or soft-cap.
    """

    module: str
    projection: str
    reads: str
    logits: str


def unembedding_hooks() -> UnembeddingHooks:
    """The names of the end of the model."""
    return UnembeddingHooks("unembed", "project_out", "unembed.hook_in", LOGITS_HOOK)


def final_norm_hooks() -> NormHooks:
    """The names of the norm before the unembedding."""
    return _norm_hooks("ln_final")


def mlp_hooks(known_hooks: Collection[str]) -> tuple[MlpHooks, ...]:
    """The names of all MLPs that have an activation function, in layer order."""
    return tuple(
        _mlp_hooks(name.removesuffix(".hook_pre"), known_hooks)
        for name in known_hooks
        if name.endswith(".mlp.hook_pre")
    )


# Names of layers that mix tokens in place of attention: state spaces and other recurrences.
_MIXERS: Final = ("mamba", "mixer", "ssm", "linear_attn")


def part_without_gates(known_hooks: Collection[str]) -> str | None:
    """A part of the model whose non-linearities are not all shown; None if there is none."""
    for name in known_hooks:
        block = BLOCK_HOOK.fullmatch(name)
        if block is None:
            continue
        if block["kind"].endswith(".hook_router_scores"):
            return f"the MLP of block {block['layer']} is a mixture of experts"
        if (part := block["kind"].partition(".")[0]) in _MIXERS:
            return f"block {block['layer']} mixes tokens by {part!r}"
        if f"blocks.{block['layer']}.attn.hook_pattern" not in known_hooks:
            return f"block {block['layer']} shows no attention pattern"
    return None


def attention_hooks(known_hooks: Collection[str]) -> tuple[AttentionHooks, ...]:
    """The names of all attention layers, in layer order."""
    return tuple(
        _attention_hooks(name.removesuffix(".hook_pattern"))
        for name in known_hooks
        if name.endswith(".attn.hook_pattern")
    )


def _norm_hooks(stem: str) -> NormHooks:
    return NormHooks(
        module=stem,
        reads=f"{stem}.hook_in",
        scale=f"{stem}.hook_scale",
        normalized=f"{stem}.hook_normalized",
        out=f"{stem}.hook_out",
    )


def _attention_hooks(stem: str) -> AttentionHooks:
    return AttentionHooks(
        module=stem,
        q=f"{stem}.hook_q",
        k=f"{stem}.hook_k",
        v=f"{stem}.hook_v",
        q_norm=_norm_hooks(f"{stem}.q_norm"),
        k_norm=_norm_hooks(f"{stem}.k_norm"),
        cos=f"{stem}.hook_cos",
        sin=f"{stem}.hook_sin",
        scores=f"{stem}.hook_attn_scores",
        pattern=f"{stem}.hook_pattern",
        heads=f"{stem}.hook_z",
    )


def _mlp_hooks(stem: str, known_hooks: Collection[str]) -> MlpHooks:
    up = f"{stem}.hook_pre_linear"
    return MlpHooks(
        module=stem,
        pre=f"{stem}.hook_pre",
        post=f"{stem}.hook_post",
        up=up if up in known_hooks else None,
        experts=f"{stem}.hook_router_scores",
    )
