"""A toy tokenizer, trained in a moment on the words of the shipped families."""

from dataclasses import dataclass
from itertools import islice
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from saecircuits.tasks import FAMILIES
from saecircuits.tasks.tokens import Tokenizer

BOS = "<|endoftext|>"


def byte_level_tokenizer(texts: list[str], *, vocabulary: int) -> Any:
    """A byte-level BPE tokenizer like the shipped one, of at most `vocabulary` tokens."""
    core = tokenizers.Tokenizer(models.BPE())
    # Digits one by one, as most models of general text have them.
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=BOS, eos_token=BOS)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Every word of the families is one token; "uncle" and other rare words are several."""
    texts = []
    for family in FAMILIES.values():
        sides = [side for contrast in islice(family.contrasts(), 3000) for side in contrast]
        texts += list({text for side in sides for _, text in side.pieces})
        texts += [answer for side in sides for answer in side.answers]
    texts += ["The quick dog"] * 5
    return byte_level_tokenizer(texts, vocabulary=4000)


@pytest.fixture(scope="session")
def letters() -> Tokenizer:
    """A tokenizer that knows single bytes only."""
    return byte_level_tokenizer([], vocabulary=257)


@dataclass(frozen=True)
class Reading:
    """A stand-in for a model: all that tasks want of one."""

    tokenizer: Tokenizer
    n_ctx: int
