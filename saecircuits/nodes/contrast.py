"""One batch of prompts, ready to be explained: the clean run, the baseline, and what lies between.

Everything that estimates or measures an effect starts from a `Contrast`: estimators move along it,
interventions jump along it, and all of them read the same metric under the same operator and the
same error policy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.memory_limit import DEFAULT
from saecircuits.nodes.baselines import BaselineValues
from saecircuits.nodes.units import Units
from saecircuits.splicing import Activations, Observation, SplicedModel
from saecircuits.splicing.carrying import Carried, all_decoded, alone, decoded_at, part_at
from saecircuits.splicing.observation import ErrorPolicy, pass_through
from saecircuits.splicing.operators import FULL, Operator
from saecircuits.splicing.room import tokens_within
from saecircuits.tasks import Prompts, last_position_logits, logit_difference

# The token embedding is treated as one more place where the stream can be moved, before all sites.
TOKENS: Literal[-1] = -1


@dataclass(frozen=True, eq=False)
class Contrast:
    """A batch of prompt pairs under one operator, one baseline and one error policy.

    Attributes:
        number: which batch of its experiment it is.
        memory_limit: bytes for everything beside the model; half of it is for one pass.
    """

    model: SplicedModel
    prompts: Prompts
    units: Units
    clean: Observation
    baseline: BaselineValues
    operator: Operator
    error_policy: ErrorPolicy
    number: int = 0
    memory_limit: int = DEFAULT

    @property
    def tokens(self) -> Int[Tensor, "batch pos"]:
        """The clean prompts' tokens, on the model's device."""
        return self.prompts.clean_tokens.to(self.model.device)

    def copies(self, tokens_at_once: int | None = None) -> int:
        """How often the batch may be laid side by side in one pass; at least once.

        Args:
            tokens_at_once: how many tokens the pass may have; None for `tokens_at_once()`.
        """
        if tokens_at_once is None:
            tokens_at_once = self.tokens_at_once()
        return max(1, tokens_at_once // self.prompts.clean_tokens.numel())

    def tokens_at_once(self, most: int = 2048) -> int:
        """How many tokens a pass may have: what the limit on memory allows, and at most so many."""
        n_pos = self.prompts.clean_tokens.shape[1]
        return min(most, tokens_within(self.model, self.memory_limit // 2, n_pos=n_pos))

    @property
    def as_it_is(self) -> "Contrast":
        """The same batch in the model as it is: no part of it held."""
        return replace(self, operator=FULL)

    @property
    def holds_errors(self) -> bool:
        """Whether error nodes stay at their clean value whatever changes before them."""
        return self.error_policy == "hold"

    @property
    def places(self) -> range:
        """`TOKENS` and then the index of every spliced site, in forward order."""
        return range(TOKENS, len(self.model.splices))

    def clean_value(self, place: int) -> Float[Tensor, "batch pos d_out"]:
        """What is written at a place in the clean run, as `run_with` takes it."""
        if place == TOKENS:
            return self.clean.tokens
        return self.alone(place, self.clean.written(self.model, place))

    def reach(self, place: int) -> tuple[int, ...]:
        """The places at which the nodes of a place write, its own first; see `SplicedModel`."""
        return (TOKENS,) if place == TOKENS else self.model.reach(place)

    def change(self, place: int) -> Float[Tensor, "batch pos _"]:
        """Clean minus baseline of all that a place's nodes write, side by side: see `reach`."""
        if place == TOKENS:
            return self.clean.tokens - self.baseline.tokens
        dictionary = self.model.splices[place].dictionary
        return all_decoded(dictionary, self.feature_change(place)) + self.alone(
            place, self.error_change(place)
        )

    def alone(self, place: int, own: Float[Tensor, "*lead d_out"]) -> Float[Tensor, "*lead _"]:
        """What a place writes at itself, side by side with nothing where else it writes."""
        return own if place == TOKENS else alone(self.model, place, own)

    def part(
        self, place: int, index: int, beside: Float[Tensor, "*lead _"]
    ) -> Float[Tensor, "*lead d_out"] | None:
        """Of what a place writes, side by side, the part at `index`; None where it writes none."""
        if TOKENS in (place, index):
            return beside if place == index else None
        return part_at(self.model, place, index, beside)

    def feature_change(self, place: int) -> Activations:
        """Clean minus baseline activation of every feature at a site."""
        clean, baseline = self.clean.sites[place], self.baseline.sites[place]
        return clean.activations.minus(baseline.activations)

    def error_change(self, place: int) -> Float[Tensor, "batch pos d_out"]:
        """Clean minus baseline of the error at a site."""
        return self.clean.sites[place].error - self.baseline.sites[place].error

    def between(
        self, share: float
    ) -> tuple[Callable[[int, Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """What every place writes on the line from its baseline (share 0) to its clean value (1).

        Skip weights belong to no node: what passes through them is what they make of what they
        read.

        Returns:
            `at_site` and `at_tokens` for `SplicedModel.forward`.
        """

        def at_site(index: int, read: Tensor, write: Tensor) -> Tensor:
            dictionary, clean = self.model.splices[index].dictionary, self.clean.sites
            features = decoded_at(self.model, lambda place: clean[place].activations, index)
            own = features + clean[index].error + dictionary.b_dec
            change = decoded_at(self.model, self.feature_change, index) + self.error_change(index)
            return own - (1 - share) * change + dictionary.skip(read)

        def at_tokens(tokens: Tensor) -> Tensor:
            return self.clean.tokens - (1 - share) * self.change(TOKENS)

        return at_site, at_tokens

    def held_errors(self, times: int = 1) -> Sequence[Tensor] | None:
        """Clean errors for the policy `hold`, the batch laid `times` times; None to recompute."""
        if not self.holds_errors:
            return None
        return [site.error.repeat(times, 1, 1) for site in self.clean.sites]

    def carried(self, times: int = 1) -> Carried:
        """For one run, the batch laid `times` times: what its sites write at later ones.

        A site that the run does not call writes there what it does in the clean run.
        """
        known = [site.activations for site in self.clean.sites]
        return Carried(self.model, known, times)

    def metric(self, logits: Float[Tensor, "many pos d_vocab"]) -> Float[Tensor, "times batch"]:
        """The metric of every prompt, for logits of the batch laid one or more times over."""
        copies = logits.unflatten(0, (-1, len(self.prompts)))
        return torch.stack(
            [
                # The last logits are few, and prompts stay where they were made: on the CPU.
                logit_difference(
                    last_position_logits(copy, self.prompts.clean_lengths).cpu(), self.prompts
                )
                for copy in copies
            ]
        )

    def divergence(self, logits: Float[Tensor, "many pos d_vocab"]) -> Float[Tensor, "times batch"]:
        """KL(clean || ablated) of the next token's distribution after every prompt, in nats."""
        lengths = self.prompts.clean_lengths
        clean = last_position_logits(self.clean.logits, lengths).log_softmax(-1)
        copies = logits.unflatten(0, (-1, len(self.prompts)))
        ablated = torch.stack([last_position_logits(copy, lengths) for copy in copies])
        return (clean.exp() * (clean - ablated.log_softmax(-1))).sum(-1).cpu()

    def run_with(
        self, place: int, values: Float[Tensor, "many pos d_out"]
    ) -> Float[Tensor, "times batch"]:
        """The metric when `values` is written at one place and everything after follows.

        Args:
            values: the batch laid one or more times over; gradients flow back to it. Beside what is
                written at the place itself, what is added where else its nodes write.
        """
        times = values.shape[0] // len(self.prompts)
        through = pass_through(self.model, self.held_errors(times), self.carried(times))

        def at_site(index: int, read: Tensor, write: Tensor) -> Tensor | None:
            if index < place:
                return None  # overwritten later: nothing before the place can matter
            part = self.part(place, index, values)
            if index == place:
                return part
            passed = through(index, read, write)
            return passed if part is None else passed + part

        logits = self.model.forward(
            self.tokens.repeat(times, 1),
            at_site=at_site,
            at_tokens=(lambda tokens: values) if place == TOKENS else None,
            operator=self.operator.repeated(times),
        )
        return self.metric(logits)
