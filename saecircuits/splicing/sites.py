"""Hook points where a dictionary may be spliced in.

Beside `splicing.part_hooks`, which has the parts of blocks, the only module that spells hook names.

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
# What a dictionary of token embeddings is called: `TOKEN_HOOK` names the tokens themselves.
_EMBED: Final = "embed.hook_out"
POSITION_HOOK: Final = "hook_pos_embed"
LOGITS_HOOK: Final = "unembed.hook_out"
BLOCK_HOOK: Final = re.compile(r"blocks\.(?P<layer>\d+)\.(?P<kind>.+)")
# In the order of computation: before all blocks, and then within one block.
SiteKind: TypeAlias = Literal[
    "embed", "resid_pre", "heads", "attn_out", "resid_mid", "mlp_out", "resid_post"
]
_KINDS: Final[tuple[SiteKind, ...]] = get_args(SiteKind)
_WRITE_KINDS: Final[dict[str, SiteKind]] = {
    "hook_resid_pre": "resid_pre",
    "attn.hook_z": "heads",
    "hook_attn_out": "attn_out",
    "hook_resid_mid": "resid_mid",
    "hook_mlp_out": "mlp_out",
    "hook_resid_post": "resid_post",
}
# The same tensors under the names that transformer_lens 3.9 calls canonical.
_ALIASES: Final = {
    "hook_in": "hook_resid_pre",
    "attn.o.hook_in": "attn.hook_z",
    "attn.hook_out": "hook_attn_out",
    "ln2.hook_in": "hook_resid_mid",
    "mlp.hook_out": "hook_mlp_out",
    "hook_out": "hook_resid_post",
}
# What a transcoder may read: the MLP's input before or after the norm's weight and bias (under two
# names, of which some models have one alone), or the stream before the norm.
_TRANSCODER_READS: Final = ("ln2.hook_normalized", "mlp.hook_in", "ln2.hook_out", "hook_resid_mid")
# transformer_lens's name of the stream before the norm, and sae_lens's of what is behind it.
_AMBIGUOUS_READ: Final = "hook_mlp_in"


@dataclass(frozen=True, order=True)
class Site:
    """A hook point with a dictionary, ordered by computation.

    Attributes:
        layer: the block; 0 for the token embedding, which comes before it.
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
        return _KINDS[self.rank]

    @property
    def point(self) -> str:
        """The hook point at which it is written, which but for token embeddings is its name."""
        return TOKEN_HOOK if self.kind == "embed" else self.hook

    @property
    def reads_before_weight(self) -> bool:
        """True for a transcoder that reads the norm's result before its weight and bias."""
        return self.read_hook.endswith("hook_normalized")

    @property
    def reads_stream(self) -> bool:
        """True for a transcoder that reads the stream as it enters the norm."""
        return self.is_transcoder and self.read_hook.endswith("hook_resid_mid")

    @property
    def is_in_stream(self) -> bool:
        """True where what is written is added to the residual stream, or is the stream itself."""
        return not self.hook.endswith("attn.hook_z")

    @property
    def label(self) -> str:
        """A short name for pictures and tables, such as `L2 resid_post`."""
        if self.kind == "embed":
            return "embed"
        kind = self.hook.rsplit("hook_", 1)[1]
        return f"L{self.layer} {kind}"


def make_site(hook: str, known_hooks: Collection[str], *, read_hook: str | None = None) -> Site:
    """The site at `hook`, checked against the hook points that the model really has.

    Raises:
        UnknownNameError: the model has no such hook point.
        SiteError: the hook point exists, but cannot carry a dictionary.
    """
    if hook in (TOKEN_HOOK, _EMBED) and hook in known_hooks:
        return Site(layer=0, rank=0, hook=_EMBED, read_hook=_EMBED)
    match = BLOCK_HOOK.fullmatch(hook)
    kind = match["kind"] if match else hook
    kind = _ALIASES.get(kind, kind)
    if match is None or kind not in _WRITE_KINDS:
        if hook in known_hooks:
            raise SiteError(
                f"cannot splice at {hook!r}: a dictionary can sit at {TOKEN_HOOK}, "
                + ", ".join(f"blocks.<layer>.{known}" for known in _WRITE_KINDS)
            )
        raise UnknownNameError("hook point", hook, spliceable_hooks(known_hooks))
    layer = int(match["layer"])
    name = f"blocks.{layer}.{kind}"
    if name not in known_hooks:
        raise UnknownNameError("hook point", hook, spliceable_hooks(known_hooks))
    if read_hook is not None and read_hook != hook:
        read_hook = _transcoder_read(name, read_hook, layer, known_hooks)
    else:
        read_hook = name
    rank = _KINDS.index(_WRITE_KINDS[kind])
    return Site(layer=layer, rank=rank, hook=name, read_hook=read_hook)


def block_of_middle(hook: str) -> int | None:
    """The block whose stream before the MLP a hook point is; None for any other."""
    match = BLOCK_HOOK.fullmatch(hook)
    is_middle = match and _ALIASES.get(match["kind"], match["kind"]) == "hook_resid_mid"
    return int(match["layer"]) if match and is_middle else None


def possible_reads(hook: str, known_hooks: Collection[str]) -> tuple[str, ...]:
    """The hook points of the tensor that a transcoder says it reads.

    More than one where the name has been given to two tensors (`hook_mlp_in`), or where a tensor
    has two names, of which some models compute one alone.
    """
    stem, _, kind = hook.rpartition(".")
    if kind == _AMBIGUOUS_READ:
        names = ("mlp.hook_in", "hook_resid_mid")
    elif hook.endswith((".mlp.hook_in", ".ln2.hook_out")):
        stem, names = stem.rpartition(".")[0], ("mlp.hook_in", "ln2.hook_out")
    else:
        return (hook,)
    return tuple(name for end in names if (name := f"{stem}.{end}") in known_hooks) or (hook,)


def is_ambiguous_read(hook: str) -> bool:
    """True for a name that has been given to two tensors."""
    return hook.endswith(f".{_AMBIGUOUS_READ}")


def hook_of(layer: int, kind: SiteKind) -> str:
    """The hook point of a block's tensor of this kind: the inverse of `Site.layer` and `.kind`."""
    if kind == "embed":
        return _EMBED
    names = {kind: name for name, kind in _WRITE_KINDS.items()}
    return f"blocks.{layer}.{names[kind]}"


def kind_of_hook(hook: str) -> str:
    """What tensor a hook point is, in one word: `resid_post`, `mlp_out`, `z`, `embed`, ..."""
    return hook.rpartition("hook_")[2]


def layer_of_hook(hook: str) -> int | None:
    """The block of a hook point; None for one that is in none."""
    match = BLOCK_HOOK.fullmatch(hook)
    return None if match is None else int(match["layer"])


def is_same_tensor(hook: str, other: str) -> bool:
    """Whether two hook points are one tensor under two names.

    So are a canonical name and its alias, and what leaves a block and enters the next.
    """
    return _plain_name(hook) == _plain_name(other)


def _plain_name(hook: str) -> str:
    match = BLOCK_HOOK.fullmatch(hook)
    if match is None:
        return hook
    layer, kind = int(match["layer"]), _ALIASES.get(match["kind"], match["kind"])
    if kind == "hook_resid_pre" and layer > 0:
        layer, kind = layer - 1, "hook_resid_post"
    return f"blocks.{layer}.{'attn.hook_z' if kind == 'hook_z' else kind}"


def spliceable_hooks(known_hooks: Collection[str]) -> tuple[str, ...]:
    """The hook points of a model that can carry a dictionary."""
    return tuple(
        name
        for name in known_hooks
        if name == _EMBED
        or ((match := BLOCK_HOOK.fullmatch(name)) and match["kind"] in _WRITE_KINDS)
    )


def mlp_begins_at(layer: int, known_hooks: Collection[str]) -> tuple[str, ...]:
    """Hook points of what a block's MLP reads, and of what it makes of that first."""
    names = (f"blocks.{layer}.mlp.{kind}" for kind in ("hook_in", "hook_pre"))
    return tuple(name for name in names if name in known_hooks)


def _transcoder_read(hook: str, read: str, layer: int, known_hooks: Collection[str]) -> str:
    match = BLOCK_HOOK.fullmatch(read)
    if match is not None:
        read = f"blocks.{match['layer']}.{_ALIASES.get(match['kind'], match['kind'])}"
    names = (f"blocks.{layer}.{kind}" for kind in _TRANSCODER_READS)
    allowed = [name for name in names if name in known_hooks]
    if not hook.endswith("hook_mlp_out") or read not in allowed:
        raise SiteError(
            f"cannot splice a transcoder that reads {read!r} and writes {hook!r}; supported: "
            f"reads {' or '.join(allowed)} and writes 'blocks.{layer}.hook_mlp_out'"
        )
    return read
