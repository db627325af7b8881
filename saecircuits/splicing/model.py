"""The spliced model: a transformer_lens bridge and dictionaries at some of its sites.

Every computation of this package runs through `SplicedModel.forward`. It calls one function per
site, in the model's order, with the tensors that the site's dictionary reads and writes; what the
function returns takes the written tensor's place. Splice, ablation, cut and intervention are such
functions. Hooks live inside the call and are gone afterwards, also after an exception.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.errors import SiteError, UnknownNameError
from saecircuits.splicing.convert import check_widths, dictionary_from_sae, flatten_heads
from saecircuits.splicing.dictionary import Dictionary
from saecircuits.splicing.operators import FULL, Hook, Operator, remember
from saecircuits.splicing.sites import TOKEN_HOOK, Site, make_site

# (index of the splice, tensor read, tensor written) -> the written tensor's replacement, or None.
AtSite: TypeAlias = Callable[[int, Tensor, Tensor], Tensor | None]
AtTokens: TypeAlias = Callable[[Tensor], Tensor | None]


@dataclass(frozen=True, eq=False)
class Splice:
    """A dictionary at a site."""

    site: Site
    dictionary: Dictionary


@dataclass(frozen=True, eq=False)
class SplicedModel:
    """A bridge with dictionaries at `splices`, in the order in which the model computes them.

    Attributes:
        bridge: any `TransformerBridge`; never changed.
        name: what files call the model.
        provenance: what is known of where the weights come from, written into every file.
    """

    bridge: Any
    splices: tuple[Splice, ...]
    name: str = "model"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tokenizer(self) -> Any:
        """The bridge's tokenizer (Hugging Face)."""
        return self.bridge.tokenizer

    @property
    def n_ctx(self) -> int:
        """The longest prompt that the model takes, BOS included."""
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
    def hooks(self) -> tuple[str, ...]:
        """Names of the spliced sites, in order."""
        return tuple(splice.site.hook for splice in self.splices)

    def index(self, hook: str) -> int:
        """The place of the site `hook` among the splices.

        Raises:
            UnknownNameError: no dictionary is spliced there.
        """
        if hook not in self.hooks:
            raise UnknownNameError("spliced site", hook, self.hooks)
        return self.hooks.index(hook)

    def describe(self) -> dict[str, Any]:
        """Name, provenance, and SHA-256 of the model's and every dictionary's weights."""
        return {
            "model": self.name,
            "model_digest": self._bridge_digest,
            "dtype": str(self.dtype).removeprefix("torch."),
            "dictionaries": {s.site.hook: s.dictionary.digest() for s in self.splices},
            **self.provenance,
        }

    @cached_property
    def _bridge_digest(self) -> str:
        sha = hashlib.sha256()
        for name, value in sorted(self.bridge.state_dict().items()):
            sha.update(name.encode())
            raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)
            sha.update(raw.numpy().tobytes())
        return sha.hexdigest()

    def at(self, hooks: tuple[str, ...]) -> "SplicedModel":
        """The same model with only these of its dictionaries spliced in."""
        kept = [self.splices[self.index(hook)] for hook in hooks]
        return replace(self, splices=_in_order(kept))

    def forward(
        self,
        tokens: Int[Tensor, "batch pos"],
        *,
        at_site: AtSite | None = None,
        at_tokens: AtTokens | None = None,
        operator: Operator = FULL,
    ) -> Float[Tensor, "batch pos d_vocab"]:
        """Logits, with `at_site` called at every splice and `at_tokens` at the token embedding.

        Tensors of a `hook_z` site are passed with their heads side by side. Any gradient mode of
        the caller is respected.
        """
        hooks = list(operator.hooks())
        if at_tokens is not None:
            hooks.append((TOKEN_HOOK, lambda tensor, hook: at_tokens(tensor)))
        if at_site is not None:
            hooks.extend(self._site_hooks(at_site))
        with _inference_settings(self.bridge), self.bridge.hooks(fwd_hooks=hooks):
            return self.bridge(tokens)

    def _site_hooks(self, at_site: AtSite) -> list[Hook]:
        hooks: list[Hook] = []
        for index, splice in enumerate(self.splices):
            read: list[Tensor] = []
            if splice.site.is_transcoder:
                hooks.append((splice.site.read_hook, remember(read)))
            hooks.append((splice.site.hook, _call(at_site, index, splice.site, read)))
        return hooks


def splice(
    bridge: Any,
    dictionaries: Mapping[str, Any],
    *,
    name: str = "model",
    provenance: Mapping[str, Any] | None = None,
) -> SplicedModel:
    """A spliced model from a `TransformerBridge` and SAEs or transcoders by hook name.

    Args:
        bridge: a `TransformerBridge`, weights unprocessed. It is not changed.
        dictionaries: hook name of what is written (`blocks.1.hook_resid_post`) to a sae_lens SAE
            or transcoder, or to a `Dictionary`. A transcoder's metadata says what it reads.
        name: what files call the model.

    Raises:
        UnknownNameError: the model has no such hook point.
        SiteError: the hook point cannot carry a dictionary, or no dictionary was given.
        DictionaryError: the dictionary's kind is unsupported, or its widths do not fit.
    """
    if not dictionaries:
        raise SiteError("no dictionary given; splice needs at least one, by hook name")
    known = set(bridge.hook_dict)
    like = next(bridge.parameters())
    splices = []
    for hook, given in dictionaries.items():
        site = make_site(hook, known, read_hook=_read_hook(given, hook))
        if bridge.hook_dict.get(hook) is not bridge.hook_dict[site.hook]:
            # A norm follows the block in some models: then these are two tensors, not two names.
            raise SiteError(
                f"cannot splice at {hook!r}: this model changes it before it is added to the "
                f"stream; splice at {site.hook!r}"
            )
        dictionary = (
            given if isinstance(given, Dictionary) else dictionary_from_sae(given, site.hook)
        )
        splices.append(Splice(site=site, dictionary=dictionary.to(like)))
    model = SplicedModel(
        bridge=bridge, splices=_in_order(splices), name=name, provenance=provenance or {}
    )
    _check_fit(model)
    return model


def _in_order(splices: list[Splice]) -> tuple[Splice, ...]:
    ordered = tuple(sorted(splices, key=lambda splice: splice.site))
    hooks = [splice.site.hook for splice in ordered]
    for hook in hooks:
        if hooks.count(hook) > 1:
            raise SiteError(f"{hooks.count(hook)} dictionaries were given for {hook!r}; give one")
    return ordered


def _read_hook(given: Any, hook: str) -> str | None:
    metadata = getattr(getattr(given, "cfg", None), "metadata", None)
    if metadata is None or "transcoder" not in given.cfg.architecture():
        return None
    if metadata.hook_name in (None, hook):
        raise SiteError(
            f"the transcoder for {hook!r} does not say what it reads: its metadata has "
            f"hook_name={metadata.hook_name!r}; set it to the hook point of the MLP's input"
        )
    return metadata.hook_name


def _check_fit(model: SplicedModel) -> None:
    """One forward pass of one token: every site fires, and its widths are the dictionary's."""
    fired: list[int] = []

    def check(index: int, read: Tensor, write: Tensor) -> None:
        splice = model.splices[index]
        check_widths(
            splice.dictionary,
            splice.site.hook,
            d_read=read.shape[-1],
            d_write=write.shape[-1],
        )
        fired.append(index)

    with torch.no_grad():
        model.forward(torch.zeros(1, 1, dtype=torch.long, device=model.device), at_site=check)
    silent = [hook for index, hook in enumerate(model.hooks) if index not in fired]
    if silent:
        raise SiteError(
            f"hook point {silent[0]!r} exists but did not fire in a forward pass; splice at "
            "hook_resid_post, hook_attn_out or hook_mlp_out of that block instead"
        )


@contextmanager
def _inference_settings(module: Any) -> Iterator[None]:
    """Inside: no dropout, and no gradients for parameters; afterwards everything as it was."""
    training = [part for part in module.modules() if part.training]
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for part in training:
            part.training = False
        for parameter in trainable:
            parameter.requires_grad_(False)
        with warnings.catch_warnings():
            # Holding a norm's scale is meant; transformer_lens says each time that it then computes
            # the norm itself.
            warnings.filterwarnings(
                "ignore", category=UserWarning, module=r"transformer_lens\..*normalization"
            )
            yield
    finally:
        for part in training:
            part.training = True
        for parameter in trainable:
            parameter.requires_grad_(True)


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
        out = at_site(index, read[0] if site.is_transcoder else write, write)
        return None if out is None else out.reshape(tensor.shape).to(tensor.dtype)

    return hook
