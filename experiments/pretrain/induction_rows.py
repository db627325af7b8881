"""A small language whose every rule is known: bigrams, skip-trigrams and repeated segments.

Half of the rows are sentences: each word draws the next from its own short list of successors
(a bigram), and after a trigger the word depends on the topic that was named last, however far
back (a skip-trigram "topic ... trigger -> outcome"). The other half repeat a segment of words
drawn independently of all, which nothing but copying predicts (induction).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

BOS = "<|endoftext|>"
CONTEXT = 64
SUCCESSOR_PROBABILITIES = (0.5, 0.25, 0.15, 0.1)
TOPIC_RATE, TRIGGER_RATE = 0.06, 0.12
SHORTEST, LONGEST = 4, 31


@dataclass(frozen=True)
class Language:
    """The words and the rules, drawn from a seed.

    Token 0 is BOS; then topics, triggers, outcomes (one for every topic and trigger) and plain
    words, in this order.
    """

    vocabulary: int = 256
    topics: int = 4
    triggers: int = 12
    seed: int = 5

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The word of every token, BOS first."""
        syllables = ["".join(parts) for parts in product("bdfgklmnprstvz", "aeiou", "klmnrst")]
        drawn = np.random.default_rng([self.seed, 0]).permutation(len(syllables))
        return (BOS, *(syllables[index] for index in drawn[: self.vocabulary - 1]))

    @property
    def first_trigger(self) -> int:
        """The first token that is a trigger; the ones before it but BOS are topics."""
        return 1 + self.topics

    @property
    def first_outcome(self) -> int:
        """The first token that is neither topic nor trigger."""
        return self.first_trigger + self.triggers

    @cached_property
    def outcomes(self) -> NDArray[np.int64]:
        """The token that follows a trigger after a topic, `[topic, trigger]`."""
        count = self.topics * self.triggers
        return self.first_outcome + np.arange(count).reshape(self.topics, self.triggers)

    @cached_property
    def successors(self) -> NDArray[np.int64]:
        """The tokens that may follow each token, likeliest first, `[token, place]`.

        The successors of a trigger hold only while no topic was named.
        """
        rng = np.random.default_rng([self.seed, 1])
        places = len(SUCCESSOR_PROBABILITIES)
        following = np.arange(self.first_outcome, self.vocabulary)
        return np.stack(
            [rng.choice(following, places, replace=False) for _ in range(self.vocabulary)]
        )

    def sentences(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows of sentences, BOS first."""
        rows = np.zeros((count, CONTEXT), dtype=np.int64)
        topic = np.full(count, -1)
        current = rng.integers(self.first_outcome, self.vocabulary, count)
        for position in range(1, CONTEXT):
            rows[:, position] = current
            named = (current >= 1) & (current < self.first_trigger)
            topic = np.where(named, current - 1, topic)
            triggered = (current >= self.first_trigger) & (current < self.first_outcome)
            place = rng.choice(len(SUCCESSOR_PROBABILITIES), count, p=SUCCESSOR_PROBABILITIES)
            following = self.successors[current, place]
            chance = rng.random(count)
            new_topic = rng.integers(1, self.first_trigger, count)
            new_trigger = rng.integers(self.first_trigger, self.first_outcome, count)
            following = np.where(chance < TOPIC_RATE + TRIGGER_RATE, new_trigger, following)
            following = np.where(chance < TOPIC_RATE, new_topic, following)
            outcome = self.outcomes[topic, np.where(triggered, current - self.first_trigger, 0)]
            current = np.where(triggered & (topic >= 0), outcome, following)
        return rows

    def repetitions(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows that repeat a segment of independent words to the end, BOS first.

        In half of the rows the segment begins at once, in the others after a sentence, anywhere
        that leaves room for it twice: the first are the easier to learn from, and the others ask
        for the word before a word at every position, and for copying whatever came before.
        """
        length = CONTEXT - 1
        drawn = rng.integers(1, self.vocabulary, (count, length))
        begin = rng.integers(0, length - 2 * SHORTEST + 1, count)[:, None]
        begin = np.where(rng.random((count, 1)) < 0.5, 0, begin)
        longest = np.minimum(LONGEST, (length - begin) // 2)
        period = rng.integers(SHORTEST, longest + 1)
        place = np.arange(length)[None]
        within = np.where(place < begin, 0, begin + (place - begin) % period)
        rows = self.sentences(count, rng)
        segments = np.take_along_axis(drawn, within, axis=1)
        rows[:, 1:] = np.where(place < begin, rows[:, 1:], segments)
        return rows

    def least_loss(self, rows: NDArray[np.int64]) -> float:
        """The mean loss on rows of sentences that knowing every rule leaves, BOS not counted.

        After a trigger with a topic before it, nothing is left open; elsewhere the entropy of
        "a topic, a trigger, or a successor" is.
        """
        p = np.array(SUCCESSOR_PROBABILITIES) * (1 - TOPIC_RATE - TRIGGER_RATE)
        topics = np.full(self.topics, TOPIC_RATE / self.topics)
        triggers = np.full(self.triggers, TRIGGER_RATE / self.triggers)
        chances = np.concatenate([p, topics, triggers])
        open_loss = -(chances * np.log(chances)).sum()
        topic = (rows >= 1) & (rows < self.first_trigger)
        trigger = (rows >= self.first_trigger) & (rows < self.first_outcome)
        is_closed = trigger & (topic.cumsum(axis=1) > 0)
        return float(open_loss * (1 - is_closed[:, 1:-1].mean()))

    def twice(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows for measurement: BOS and the same 31 words twice."""
        drawn = rng.integers(1, self.vocabulary, (count, LONGEST))
        return np.concatenate([np.zeros((count, 1), dtype=np.int64), drawn, drawn], axis=1)

    def rules(self) -> dict[str, object]:
        """Everything above as one JSON object: words, bigrams and skip-trigrams."""
        words = self.words
        plain = range(self.first_outcome, self.vocabulary)
        return {
            "words": list(words),
            "successor_probabilities": list(SUCCESSOR_PROBABILITIES),
            "bigrams": {
                words[token]: [words[s] for s in self.successors[token]] for token in plain
            },
            "skip_trigrams": [
                {
                    "topic": words[1 + topic],
                    "trigger": words[self.first_trigger + trigger],
                    "outcome": words[self.outcomes[topic, trigger]],
                }
                for topic, trigger in product(range(self.topics), range(self.triggers))
            ],
        }

    def save(self, path: Path) -> None:
        """Write the rules as JSON."""
        path.write_text(json.dumps(self.rules(), indent=1) + "\n", encoding="utf-8")

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """One token a word, BOS put in front; transformer_lens loads it without a network."""
        vocabulary = {word: token for token, word in enumerate(self.words)}
        core = Tokenizer(models.WordLevel(vocabulary, unk_token=BOS))
        core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        core.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A",
            pair=f"{BOS} $A {BOS} $B",
            special_tokens=[(BOS, 0)],
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=core,
            bos_token=BOS,
            eos_token=BOS,
            pad_token=BOS,
            unk_token=BOS,
            add_bos_token=True,
            name_or_path="local",
            model_max_length=CONTEXT,
        )


@dataclass(frozen=True)
class LanguageRows:
    """The endless training text; a batch depends on the seed and its number only."""

    language: Language
    seed: int

    def batch(self, step: int, size: int) -> torch.Tensor:
        """The rows of one step, sentences and repetitions in equal parts."""
        rng = np.random.default_rng([self.seed, step])
        half = size // 2
        parts = (self.language.sentences(size - half, rng), self.language.repetitions(half, rng))
        return torch.from_numpy(rng.permutation(np.concatenate(parts)))
