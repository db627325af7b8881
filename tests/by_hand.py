"""The computations of the lower floors once more, on the bare bridge, with every hook written out.

`Raw` goes through none of `SplicedModel.forward`, `Contrast.run_with` or `Operator`: it takes from
the package only the dictionaries' weights, and the values that a test wants to compare.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from saecircuits.nodes.contrast import Contrast
from saecircuits.splicing import Dictionary
from saecircuits.tasks import Prompts

TOKENS = -1
SiteEdit = Callable[[Tensor, Tensor], Tensor]  # (read, written) -> what is written instead


def hand_metric(logits: Tensor, prompts: Prompts, lengths: Tensor | None = None) -> Tensor:
    """Mean logit of the answers minus mean logit of the wrong ones, at each prompt's last token."""
    lengths = prompts.clean_lengths if lengths is None else lengths
    values = []
    for row, length in enumerate(lengths.tolist()):
        final = logits[row, length - 1]
        right = [final[t] for t in prompts.answer_tokens[row][prompts.answer_mask[row]]]
        wrong = [final[t] for t in prompts.wrong_tokens[row][prompts.wrong_mask[row]]]
        values.append(sum(right) / len(right) - sum(wrong) / len(wrong))
    return torch.stack(values)


class Raw:
    """A contrast's clean prompts on its bridge, under its operator and error policy."""

    def __init__(self, contrast: Contrast) -> None:
        self.contrast = contrast
        self.bridge = contrast.model.bridge
        self.splices = contrast.model.splices
        self.tokens = contrast.prompts.clean_tokens
        with torch.no_grad():
            _, self.cache = self.bridge.run_with_cache(self.tokens)
        self.written = {TOKENS: self.cache["hook_embed"]}
        self.read: dict[int, Tensor] = {}
        for index, splice in enumerate(self.splices):
            self.written[index] = _flat(self.cache[splice.site.hook])
            self.read[index] = _flat(self.cache[splice.site.read_hook])
        self.places = tuple(self.written)

    def dictionary(self, index: int) -> Dictionary:
        """The dictionary of a site."""
        return self.splices[index].dictionary

    def error(self, index: int) -> Tensor:
        """What the site's dictionary leaves out of the clean run."""
        return self.written[index] - self.dictionary(index).reconstruct(self.read[index])

    def metric(self, edits: Mapping[int, SiteEdit] | None = None) -> Tensor:
        """The metric when some places write something else; sites without an edit pass through."""
        edits = edits or {}
        hooks = self._operator_hooks()
        for place in self.places:
            change = edits.get(place)
            if place == TOKENS:
                if change is not None:
                    hooks.append(("hook_embed", _on_tokens(change)))
            else:
                hooks += self._site_hooks(place, change)
        return hand_metric(
            self.bridge.run_with_hooks(self.tokens, fwd_hooks=hooks), self.contrast.prompts
        )

    def through(self, index: int, read: Tensor, written: Tensor) -> Tensor:
        """What a site writes of itself: under `hold`, its features and its clean error."""
        if self.contrast.error_policy == "recompute":
            return written
        return self.dictionary(index).reconstruct(read) + self.error(index)

    def plus(self, place: int, change: Tensor) -> Tensor:
        """The metric when `change` is added to what a place writes of itself."""
        if place == TOKENS:
            return self.metric({TOKENS: lambda read, written: written + change})
        return self.metric(
            {place: lambda read, written: self.through(place, read, written) + change}
        )

    def gradient(self, place: int) -> Tensor:
        """`dm/dx` at a place, from a backward pass of its own."""
        change = torch.zeros_like(self.written[place]).requires_grad_()
        (gradient,) = torch.autograd.grad(self.plus(place, change).sum(), change)
        return gradient

    def cut(self, moved: Mapping[int, Tensor]) -> tuple[dict[int, tuple[Tensor, Tensor]], Tensor]:
        """Every place writes its clean value plus `moved`; skip weights alone pass anything on.

        Returns:
            What arrives at each site, (read, written), and the metric.
        """
        arriving: dict[int, tuple[Tensor, Tensor]] = {}

        def held(index: int) -> SiteEdit:
            dictionary = self.dictionary(index)
            own = self.written[index] - dictionary.skip(self.read[index])

            def edit(read: Tensor, written: Tensor) -> Tensor:
                arriving[index] = (read, written)
                return own + moved.get(index, 0.0) + dictionary.skip(read)

            return edit

        edits = {index: held(index) for index in range(len(self.splices))}
        edits[TOKENS] = lambda read, written: self.written[TOKENS] + moved.get(TOKENS, 0.0)
        return arriving, self.metric(edits)

    def _site_hooks(self, index: int, edit: SiteEdit | None) -> list[tuple[str, Callable]]:
        if edit is None:
            if self.contrast.error_policy == "recompute":
                return []
            edit = lambda read, written: self.through(index, read, written)  # noqa: E731
        site = self.splices[index].site
        seen: dict[str, Tensor] = {}

        def keep(tensor: Tensor, hook: object) -> None:
            seen["read"] = tensor

        if site.kind == "resid_mid":
            # What is added to the stream before the MLP is added to what the attention layer gives.
            def add(tensor: Tensor, hook: object) -> Tensor:
                middle = seen["read"] + tensor
                return tensor + edit(middle, middle) - middle

            stem = site.hook.removesuffix("hook_resid_mid")
            return [(f"{stem}hook_resid_pre", keep), (f"{stem}hook_attn_out", add)]

        def write(tensor: Tensor, hook: object) -> Tensor:
            flat = _flat(tensor)
            read = _flat(seen["read"]) if site.read_hook != site.hook else flat
            return edit(read, flat).reshape(tensor.shape)

        return [(site.read_hook, keep), (site.hook, write)]

    def _operator_hooks(self) -> list[tuple[str, Callable]]:
        kind = self.contrast.operator.kind
        if kind == "full":
            return []
        hooks = []
        for name in self.bridge.hook_dict:
            if name.endswith((".hook_scale", ".attn.hook_pattern")):
                hooks.append((name, lambda tensor, hook, value=self.cache[name]: value))
        if kind == "secant":
            for layer in range(self.bridge.cfg.n_layers):
                hooks += self._secant_hooks(f"blocks.{layer}.mlp.")
        return hooks

    def _secant_hooks(self, mlp: str) -> list[tuple[str, Callable]]:
        linear = (
            "hook_pre_linear" if f"{mlp}hook_pre_linear" in self.bridge.hook_dict else "hook_pre"
        )
        gate = self.cache[f"{mlp}hook_post"] / self.cache[mlp + linear]
        seen: dict[str, Tensor] = {}

        def keep(tensor: Tensor, hook: object) -> None:
            seen["pre"] = tensor

        return [
            (mlp + linear, keep),
            (f"{mlp}hook_post", lambda tensor, hook: gate * seen["pre"]),
        ]


def _on_tokens(edit: SiteEdit) -> Callable[[Tensor, object], Tensor]:
    return lambda tensor, hook: edit(tensor, tensor)


def _flat(tensor: Tensor) -> Tensor:
    return tensor.reshape(*tensor.shape[:2], -1)
