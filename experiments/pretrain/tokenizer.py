"""The byte-level BPE tokenizer: trained on the stories and on generated passages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from sentences import passage
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from words import NAMES, tracked_words

END = "<|endoftext|>"
"""The only special token: it begins every text, separates texts and pads."""
SPECIAL_ID = 0


def stories_of(path: Path) -> list[str]:
    """The stories of a corpus file, stripped."""
    stories = (story.strip() for story in path.read_text(encoding="utf-8").split(END))
    return [story for story in stories if story]


def _training_text(stories: list[str], passages: int) -> Iterator[str]:
    """Stories and generated passages, the names also without the space before them.

    A word of the templates that is rare in both would be split; a few hundred more occurrences
    of each make sure that it is not.
    """
    yield from stories
    rng = Random("tokenizer")
    for _ in range(passages):
        yield passage(rng)
    for word in tracked_words():
        yield from [f"the {word}"] * 300
    for name in NAMES:
        yield from [name] * 300
    yield from ['Tom said, "The cat ran." "Go," said Sue.'] * 300


def train_tokenizer(stories: list[str], passages: int, vocabulary: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer and wrap it so that transformer_lens loads it without a network."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_training_text(stories, passages), trainer)
    core.post_processor = processors.TemplateProcessing(
        single=f"{END} $A",
        pair=f"{END} $A {END} $B",
        special_tokens=[(END, SPECIAL_ID)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        unk_token=END,
        add_bos_token=True,
        name_or_path="local",
        model_max_length=128,
    )


def split_words(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """The strings which ought to be one token and are not; empty when all is well."""
    wanted = [f" {word}" for word in tracked_words()] + list(NAMES) + ['."', ' "', '."']
    return [text for text in wanted if len(tokenizer.encode(text, add_special_tokens=False)) != 1]
