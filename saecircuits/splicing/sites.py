"""Hook points where a dictionary may be spliced in. The only module that spells hook names.

A *site* is a tensor of the forward pass that a dictionary writes: a SAE reads and writes the same
hook point; a transcoder reads the MLP's input and writes its output. Sites are ordered as the
model computes them, so "before" and "after" mean what they say.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

from saecircuits.errors import SiteError, UnknownNameError

TOKEN_HOOK: Final = "hook_embed"
POSITION_HOOK: Final = "hook_pos_embed"
LOGITS_HOOK: Final = "unembed.hook_out"
_BLOCK_HOOK = re.compile(r"blocks\.(?P<layer>\d+)\.(?P<kind>.+)")
# In the order of computation within one block.
SiteKind: TypeAlias = Literal["resid_pre", "heads", "attn_out", "mlp_out", "resid_post"]
_WRITE_KINDS: Final = {
    "hook_resid_pre": 0,
    "attn.hook_z": 1,
    "hook_attn_out": 2,
    "hook_mlp_out": 3,
    "hook_resid_post": 4,
}
# The same tensors under the names that transformer_lens 3.9 calls canonical.
_ALIASES: Final = {
    "hook_in": "hook_resid_pre",
    "attn.o.hook_in": "attn.hook_z",
    "attn.hook_out": "hook_attn_out",
    "mlp.hook_out": "hook_mlp_out",
    "hook_out": "hook_resid_post",
}
# What a transcoder may read: the MLP's input before or after the norm's weight and bias.
_TRANSCODER_READS: Final = ("ln2.hook_normalized", "mlp.hook_in")


@dataclass(frozen=True, order=True)
class Site:
    """A hook point with a dictionary, ordered by computation.

    Attributes:
        layer: the block.
        rank: the place within the block.
        hook: the name of the tensor that the dictionary writes; also the site's own name.
        read_hook: the name of the tensor that the dictionary reads; `hook` itself for a SAE.
    """

    layer: int
    rank: int
    hook: str = field(compare=False)
    read_hook: str = field(compare=False)

    @property
    def is_transcoder(self) -> bool:
        """True where the dictionary reads one tensor and writes another."""
        return self.hook != self.read_hook

    @property
    def kind(self) -> SiteKind:
        """What tensor of its block the dictionary writes."""
        return get_args(SiteKind)[self.rank]

    @property
    def reads_before_weight(self) -> bool:
        """True for a transcoder that reads the norm's result before its weight and bias."""
        return self.read_hook.endswith("hook_normalized")

    @property
    def is_in_stream(self) -> bool:
        """True where what is written is added to the residual stream, or is the stream itself."""
        return not self.hook.endswith("attn.hook_z")

    @property
    def label(self) -> str:
        """A short name for pictures and tables, such as `L2 resid_post`."""
        kind = self.hook.rsplit("hook_", 1)[1]
        return f"L{self.layer} {kind}"


def make_site(hook: str, known_hooks: Collection[str], *, read_hook: str | None = None) -> Site:
    """The site at `hook`, checked against the hook points that the model really has.

    Raises:
        UnknownNameError: the model has no such hook point.
        SiteError: the hook point exists, but cannot carry a dictionary.
    """
    match = _BLOCK_HOOK.fullmatch(hook)
    kind = match["kind"] if match else hook
    if kind == "hook_resid_mid":
        raise SiteError(
            f"cannot splice at {hook!r}: in transformer_lens's bridge this is the input of the "
            "second norm, not the residual stream; use hook_attn_out, or a transcoder at "
            "hook_mlp_out"
        )
    kind = _ALIASES.get(kind, kind)
    if match is None or kind not in _WRITE_KINDS:
        if hook in known_hooks:
            raise SiteError(
                f"cannot splice at {hook!r}: a dictionary can sit at "
                + ", ".join(f"blocks.<layer>.{known}" for known in _WRITE_KINDS)
            )
        raise UnknownNameError("hook point", hook, spliceable_hooks(known_hooks))
    layer = int(match["layer"])
    name = f"blocks.{layer}.{kind}"
    if name not in known_hooks:
        raise UnknownNameError("hook point", hook, spliceable_hooks(known_hooks))
    if read_hook is not None and read_hook != hook:
        _check_transcoder_read(name, read_hook, layer, known_hooks)
    else:
        read_hook = name
    return Site(layer=layer, rank=_WRITE_KINDS[kind], hook=name, read_hook=read_hook)


def hook_of(layer: int, kind: SiteKind) -> str:
    """The hook point of a block's tensor of this kind: the inverse of `Site.layer` and `.kind`."""
    names = {rank: name for name, rank in _WRITE_KINDS.items()}
    return f"blocks.{layer}.{names[get_args(SiteKind).index(kind)]}"


def spliceable_hooks(known_hooks: Collection[str]) -> tuple[str, ...]:
    """The hook points of a model that can carry a dictionary."""
    return tuple(
        name
        for name in known_hooks
        if (match := _BLOCK_HOOK.fullmatch(name)) and match["kind"] in _WRITE_KINDS
    )


def mlp_begins_at(layer: int, known_hooks: Collection[str]) -> tuple[str, ...]:
    """Hook points of what a block's MLP reads, and of what it makes of that first."""
    names = (f"blocks.{layer}.mlp.{kind}" for kind in ("hook_in", "hook_pre"))
    return tuple(name for name in names if name in known_hooks)


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
    block = _BLOCK_HOOK.fullmatch(hook)
    kind: NonlinearityKind = "softmax"
    if hook.endswith(".hook_scale"):
        kind = "norm"
    elif ".mlp." in hook:
        kind = "activation"
    return Nonlinearity(kind, None if block is None else int(block["layer"]))


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
        block = _BLOCK_HOOK.fullmatch(name)
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


def _check_transcoder_read(hook: str, read: str, layer: int, known_hooks: Collection[str]) -> None:
    names = (f"blocks.{layer}.{kind}" for kind in _TRANSCODER_READS)
    allowed = [name for name in names if name in known_hooks]
    if not hook.endswith("hook_mlp_out") or read not in allowed:
        raise SiteError(
            f"cannot splice a transcoder that reads {read!r} and writes {hook!r}; supported: "
            f"reads {' or '.join(allowed)} and writes 'blocks.{layer}.hook_mlp_out'"
        )
