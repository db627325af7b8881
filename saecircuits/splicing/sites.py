"""Hook points where a dictionary may be spliced in. The only module that spells hook names.

A *site* is a tensor of the forward pass that a dictionary writes: a SAE reads and writes the same
hook point; a transcoder reads the MLP's input and writes its output. Sites are ordered as the
model computes them, so "before" and "after" mean what they say.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from saecircuits.errors import SiteError, UnknownNameError

TOKEN_HOOK: Final = "hook_embed"
_BLOCK_HOOK = re.compile(r"blocks\.(?P<layer>\d+)\.(?P<kind>.+)")
# Order of computation within one block.
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


def spliceable_hooks(known_hooks: Collection[str]) -> tuple[str, ...]:
    """The hook points of a model that can carry a dictionary."""
    return tuple(
        name
        for name in known_hooks
        if (match := _BLOCK_HOOK.fullmatch(name)) and match["kind"] in _WRITE_KINDS
    )


def attention_pattern_hooks(known_hooks: Collection[str]) -> tuple[str, ...]:
    """Hook points of the attention patterns `[batch, head, query, key]`, after the softmax."""
    return tuple(name for name in known_hooks if name.endswith("attn.hook_pattern"))


def norm_scale_hooks(known_hooks: Collection[str]) -> tuple[str, ...]:
    """Hook points of what each norm divides by: standard deviation or root mean square."""
    return tuple(name for name in known_hooks if name.endswith(".hook_scale"))


@dataclass(frozen=True)
class MlpHooks:
    """Where an MLP's activation function sits: `post = act(pre)`, or `act(pre) * up` if gated."""

    pre: str
    post: str
    up: str | None


def mlp_hooks(known_hooks: Collection[str]) -> tuple[MlpHooks, ...]:
    """The activation functions of all MLPs, in layer order."""
    found = []
    for name in known_hooks:
        if not name.endswith(".mlp.hook_pre"):
            continue
        stem = name.removesuffix("hook_pre")
        up = f"{stem}hook_pre_linear"
        found.append(
            MlpHooks(pre=name, post=f"{stem}hook_post", up=up if up in known_hooks else None)
        )
    return tuple(found)


def _check_transcoder_read(hook: str, read: str, layer: int, known_hooks: Collection[str]) -> None:
    allowed = [f"blocks.{layer}.{kind}" for kind in _TRANSCODER_READS]
    if not hook.endswith("hook_mlp_out") or read not in allowed or read not in known_hooks:
        raise SiteError(
            f"cannot splice a transcoder that reads {read!r} and writes {hook!r}; supported: "
            f"reads {' or '.join(allowed)} and writes 'blocks.{layer}.hook_mlp_out'"
        )
