"""The spliced model: a transformer_lens bridge and dictionaries at some of its sites.

Every computation of this package runs through `SplicedModel.forward`. It calls one function per
site, in the model's order, with the tensors that the site's dictionary reads and writes; what the
function returns takes the written tensor's place. Splice, ablation, cut and intervention are such
functions. Hooks live inside the call and are gone afterwards, also after an exception.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.errors import ModelError, SiteError, TaskError, UnknownNameError
from saecircuits.splicing.convert import flatten_heads
from saecircuits.splicing.dictionary import Dictionary
from saecircuits.splicing.hooking import Hook, attached, recording, remember
from saecircuits.splicing.inference import inference_settings, logits_in_float32
from saecircuits.splicing.middle import middle_hooks
from saecircuits.splicing.operators import FULL, Operator
from saecircuits.splicing.section import (
    WHOLE,
    Section,
    blocks_can_be_left_out,
    enter,
    narrow_to_last,
    stream_hooks,
    without_blocks,
)
from saecircuits.splicing.sites import TOKEN_HOOK, Site
from saecircuits.tasks.prepending import Prepended, prepended

# (index of the splice, tensor read, tensor written) -> the written tensor's replacement, or None.
AtSite: TypeAlias = Callable[[int, Tensor, Tensor], Tensor | None]
AtTokens: TypeAlias = Callable[[Tensor], Tensor | None]


@dataclass(frozen=True, eq=False)
class Splice:
    """A dictionary at a site."""

    site: Site
    dictionary: Dictionary


@dataclass(frozen=True, eq=False, repr=False)
class SplicedModel:
    """A bridge with dictionaries at `splices`, in the order in which the model computes them.

    Attributes:
        bridge: any `TransformerBridge`; never changed.
        name: what files call the model.
        provenance: what is known of where the weights come from, written into every file.
        prepend: what is put in front of every text that it reads: `bos`, `none`, or a token as the
            tokenizer writes it; None for the tokenizer's own BOS if it has one, otherwise nothing.
    """

    bridge: Any
    splices: tuple[Splice, ...]
    name: str = "model"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    prepend: str | None = None

    def __repr__(self) -> str:
        kept = str(self.dtype).removeprefix("torch.")
        return (
            f"SplicedModel({self.name!r}, {self.n_layers} blocks, {len(self.splices)} sites with "
            f"dictionaries, {kept} on {self.device})"
        )

    @property
    def tokenizer(self) -> Any:
        """The bridge's tokenizer (Hugging Face).

        Raises:
            ModelError: the bridge has none.
        """
        if self.bridge.tokenizer is None:
            raise ModelError(
                f"the bridge of model {self.name!r} has no tokenizer, so it reads no text; set "
                "bridge.tokenizer, for instance to transformers.AutoTokenizer.from_pretrained(...)"
            )
        return self.bridge.tokenizer

    @cached_property
    def prepended(self) -> Prepended:
        """What stands in front of every text, and why; TaskError if `prepend` is no such token."""
        return prepended(self.tokenizer, self.prepend)

    def prepending(self, prepend: str | None) -> "SplicedModel":
        """The same model, which reads texts behind another token, or behind none.

        Raises:
            TaskError: `bos` of a tokenizer that has none, or what is not exactly one token.
        """
        changed = replace(self, prepend=prepend)
        front = changed.prepended
        if front.id is not None and front.id >= int(self.bridge.cfg.d_vocab):
            raise TaskError(
                f"{front.name} is token {front.id}, and the model has embeddings of "
                f"{int(self.bridge.cfg.d_vocab):,}; give 'none', or a token that it knows"
            )
        return changed

    @property
    def n_layers(self) -> int:
        """How many blocks there are."""
        return len(self.bridge.blocks)

    @property
    def n_weights(self) -> int:
        """How many numbers the model is made of, dictionaries not counted."""
        return sum(weight.numel() for weight in self.bridge.original_model.parameters())

    @property
    def n_ctx(self) -> int:
        """The longest prompt that the model takes, what is prepended included."""
        return int(self.bridge.cfg.n_ctx)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.bridge.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' dtype."""
        return next(self.bridge.parameters()).dtype

    @property
    def working_dtype(self) -> torch.dtype:
        """What is computed in beside the model: its dtype, or float32 where that is less."""
        return torch.promote_types(self.dtype, torch.float32)

    @property
    def hooks(self) -> tuple[str, ...]:
        """Names of the spliced sites, in order."""
        return tuple(splice.site.hook for splice in self.splices)

    @cached_property
    def hook_points(self) -> Mapping[str, Any]:
        """Every hook point of the bridge by name, aliases included."""
        return self.bridge.hook_dict

    def index(self, hook: str) -> int:
        """The place of the site `hook` among the splices.

        Raises:
            UnknownNameError: no dictionary is spliced there.
        """
        if hook not in self.hooks:
            raise UnknownNameError("spliced site", hook, self.hooks)
        return self.hooks.index(hook)

    def reach(self, index: int) -> tuple[int, ...]:
        """The sites at which the features of a site write: their own and, of a cross-layer
        transcoder, later ones.
        """
        return self._reach[index]

    def writers(self, index: int) -> tuple[tuple[int, int], ...]:
        """The sites whose features write at a site, itself first, each with its `at` for it."""
        later = (
            (place, reach.index(index))
            for place, reach in enumerate(self._reach)
            if index in reach[1:]
        )
        return ((index, 0), *later)

    @cached_property
    def _reach(self) -> tuple[tuple[int, ...], ...]:
        found = []
        for index, splice in enumerate(self.splices):
            later = splice.dictionary.later
            found.append((index, *map(self.index, () if later is None else later.hooks)))
        return tuple(found)

    def describe(self) -> dict[str, Any]:
        """Name, provenance, and SHA-256 of the model's and every dictionary's weights.

        `cross_layer` are the sites whose features also write at later ones, where there are such.
        `normalised` says, by site, how its dictionary normalises every token, where one does: its
        features are then in the stream's units (`splicing.normalising`). `signed` are the sites
        whose features may be negative.
        """
        further = [self.hooks[reach[0]] for reach in self._reach if len(reach) > 1]
        normalised = {
            splice.site.hook: found.name
            for splice in self.splices
            if (found := splice.dictionary.normalisation) is not None
        }
        signed = [one.site.hook for one in self.splices if one.dictionary.gate.has_signs]
        return {
            "model": self.name,
            "model_digest": self._bridge_digest,
            "dtype": str(self.dtype).removeprefix("torch."),
            "dictionaries": dict(self._dictionary_digests),
            **({"cross_layer": further} if further else {}),
            **({"normalised": normalised} if normalised else {}),
            **({"signed": signed} if signed else {}),
            **self.provenance,
        }

    @cached_property
    def _dictionary_digests(self) -> dict[str, str]:
        return {splice.site.hook: splice.dictionary.digest() for splice in self.splices}

    @cached_property
    def _bridge_digest(self) -> str:
        sha = hashlib.sha256()
        for name, value in sorted(self.bridge.state_dict().items()):
            sha.update(name.encode())
            raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)
            sha.update(raw.numpy().tobytes())
        return sha.hexdigest()

    def at(self, hooks: tuple[str, ...]) -> "SplicedModel":
        """The same model with only these of its dictionaries spliced in.

        Raises:
            UnknownNameError: no dictionary is spliced at one of them.
            SiteError: features at one of them also write at a site that is not among them.
        """
        kept = [self.splices[self.index(hook)] for hook in hooks]
        for splice in kept:
            later = splice.dictionary.later
            missing = [hook for hook in (later.hooks if later else ()) if hook not in hooks]
            if missing:
                raise SiteError(
                    f"features at {splice.site.hook!r} also write at {missing[0]!r}, which is not "
                    "among the sites asked for; ask for all of the cross-layer transcoder's"
                )
        return replace(self, splices=in_order(kept))

    def forward(
        self,
        tokens: Int[Tensor, "batch pos"],
        *,
        at_site: AtSite | None = None,
        at_tokens: AtTokens | None = None,
        operator: Operator = FULL,
        section: Section = WHOLE,
        lengths: Int[Tensor, " batch"] | None = None,
        edits: Sequence[Hook] = (),
    ) -> Float[Tensor, "batch pos_read d_out"]:
        """Logits, with `at_site` called at every splice and `at_tokens` at the token embedding.

        A model in bfloat16 or float16 computes in it up to the final norm; its logits are products
        in float32. `at_site` and `at_tokens` see float32 there.

        Tensors of a `hook_z` site are passed with their heads side by side. Any gradient mode of
        the caller is respected.

        Args:
            section: the blocks that run; `at_site` is called at their splices alone. Where it stops
                early, the stream takes the place of the logits.
            lengths: tokens of each prompt; if given, logits are those of its last token alone,
                `[batch, 1, d_vocab]`.
            edits: further hooks, by hook point; they see what the operator makes of its tensors.
        """
        hooks: list[Hook] = []
        if section.stream is not None:
            hooks.append(enter(self.stream_hooks[section.first], section.stream))
        if lengths is not None:
            hooks.append(narrow_to_last(self.bridge, lengths))
        hooks.extend(operator.hooks())
        hooks.extend(edits)
        if at_tokens is not None:
            hooks.append((TOKEN_HOOK, lambda tensor, hook: at_tokens(tensor)))
        if at_site is not None:
            hooks.extend(self._site_hooks(at_site, section))
        left_out = section.first if section.first and self._blocks_can_be_left_out else 0
        with (
            inference_settings(self.bridge),
            logits_in_float32(self.bridge),
            without_blocks(self.bridge, left_out),
            attached(self.bridge, self.hook_points, hooks),
        ):
            return self.bridge(tokens, stop_at_layer=section.stop)

    @torch.no_grad()
    def streams(
        self,
        tokens: Int[Tensor, "batch pos"],
        *,
        operator: Operator = FULL,
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> tuple[
        tuple[Float[Tensor, "batch pos d_model"], ...], Float[Tensor, "batch pos_read d_vocab"]
    ]:
        """What enters every block and the final norm, and the logits, of a run without splices."""
        with recording(self.bridge, self.hook_points, self.stream_hooks) as seen:
            logits = self.forward(tokens, operator=operator, lengths=lengths)
        return tuple(seen[name] for name in self.stream_hooks), logits

    @cached_property
    def stream_hooks(self) -> tuple[str, ...]:
        """Names of the tensors that enter each block and, last, the final norm."""
        return stream_hooks(self.bridge)

    def block_behind(self, index: int) -> int | None:
        """The block whose stream is what site `index` writes, the final norm counted as the last.

        None for a site that writes inside a block, or on entering one.
        """
        site = self.splices[index].site
        behind = site.layer + 1
        is_output = self.hook_points[site.point] is self.bridge.blocks[site.layer].hook_out
        return behind if is_output and behind < len(self.stream_hooks) else None

    @cached_property
    def _blocks_can_be_left_out(self) -> bool:
        with inference_settings(self.bridge):
            return blocks_can_be_left_out(self.bridge, self.hook_points)

    def _site_hooks(self, at_site: AtSite, section: Section) -> list[Hook]:
        hooks: list[Hook] = []
        behind: list[Hook] = []  # of a site before the MLP, to come behind those at its output
        for index, splice in enumerate(self.splices):
            site = splice.site
            if not section.contains(site.layer):
                continue
            if site.kind != "mlp_out":
                hooks, behind = [*hooks, *behind], []
            read: list[Tensor] = []
            if site.is_transcoder:
                hooks.append((site.read_hook, remember(read)))
            write = _call(at_site, index, site, read)
            if site.kind == "resid_mid":
                own, behind = middle_hooks(site, self.hook_points, write)
                hooks.extend(own)
            else:
                hooks.append((site.point, write))
        return [*hooks, *behind]


def in_order(splices: list[Splice]) -> tuple[Splice, ...]:
    """The splices as the model computes them; SiteError where two are at one site."""
    ordered = tuple(sorted(splices, key=lambda splice: splice.site))
    hooks = [splice.site.hook for splice in ordered]
    for hook in hooks:
        if hooks.count(hook) > 1:
            raise SiteError(f"{hooks.count(hook)} dictionaries were given for {hook!r}; give one")
    return ordered


def _call(
    at_site: AtSite, index: int, site: Site, read: list[Tensor]
) -> Callable[..., Tensor | None]:
    def hook(tensor: Tensor, hook: Any) -> Tensor | None:
        write = flatten_heads(tensor) if tensor.ndim == 4 else tensor
        if site.is_transcoder and not read:
            raise SiteError(
                f"hook point {site.read_hook!r} exists but did not fire before {site.hook!r}; the "
                "transcoder there has nothing to read in this model"
            )
        # Some models lay all tokens one after the other where the MLP reads them.
        reads = read[0].reshape(*write.shape[:-1], -1) if site.is_transcoder else write
        out = at_site(index, reads, write)
        return None if out is None else out.reshape(tensor.shape).to(tensor.dtype)

    return hook
