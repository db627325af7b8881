"""Activations of a few features over a corpus, kept sparse.

A corpus is token ids with a mask of the tokens to look at: what is prepended and padding are never
looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from scipy import sparse
from torch import Tensor

from saecircuits.features.at_once import tokens_at_once
from saecircuits.memory_limit import DEFAULT
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.activations import encode_sparse
from saecircuits.tasks import Prompts


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts of one origin.

    Attributes:
        tokens: ids, what is prepended first.
        looked_at: False for what is prepended and for padding.
    """

    tokens: Int[Tensor, "text pos"]
    looked_at: Bool[Tensor, "text pos"]
    origin: Literal["text", "task"]

    @property
    def size(self) -> int:
        """How many tokens are looked at."""
        return int(self.looked_at.sum())


def corpus_of_text(text: Int[Tensor, "text pos"], *, bos: int | None) -> Corpus:
    """Texts behind `bos`, which may end one and start the next; or, without, whole rows of text.

    Args:
        text: token ids; negative ones are padding.
    """
    looked_at = text >= 0
    if bos is not None:
        looked_at &= text != bos
        looked_at[:, 0] = False
    return Corpus(tokens=text.clamp(min=0), looked_at=looked_at, origin="text")


def corpus_of_prompts(prompts: Prompts) -> Corpus:
    """The clean and the corrupted prompts."""
    width = max(prompts.clean_tokens.shape[1], prompts.corrupted_tokens.shape[1])
    tokens = torch.cat(
        [
            torch.nn.functional.pad(side, (0, width - side.shape[1]))
            for side in (prompts.clean_tokens, prompts.corrupted_tokens)
        ]
    )
    lengths = torch.cat([prompts.clean_lengths, prompts.corrupted_lengths])
    position = torch.arange(width, device=lengths.device)
    looked_at = (position >= prompts.first) & (position < lengths[:, None])
    return Corpus(tokens=tokens, looked_at=looked_at, origin="task")


@torch.no_grad()
def read_features(
    model: SplicedModel,
    corpus: Corpus,
    wanted: Mapping[str, Sequence[int]],
    *,
    memory_limit: int = DEFAULT,
) -> dict[str, sparse.csc_matrix]:
    """Activations `[text * pos, feature]` of the wanted features of every site.

    Args:
        wanted: hook name to feature indices, which number the columns.
        memory_limit: bytes; it decides how many texts go through the model at one time.
    """
    columns = {
        model.index(hook): torch.tensor(list(features), dtype=torch.long, device=model.device)
        for hook, features in wanted.items()
    }
    blocks: dict[int, list[sparse.csr_matrix]] = {index: [] for index in columns}
    # What is stacked on where there is no text.
    empty = {index: sparse.csr_matrix((0, len(column))) for index, column in columns.items()}
    together = max(1, tokens_at_once(model, memory_limit) // corpus.tokens.shape[1])
    for start in range(0, len(corpus.tokens), together):
        rows = slice(start, start + together)
        looked_at = corpus.looked_at[rows, :, None].to(model.device)

        def at_site(index: int, read: Tensor, write: Tensor, kept: Tensor = looked_at) -> None:
            if index in columns:
                encoded = encode_sparse(model.splices[index].dictionary, read)
                acts = encoded.of(columns[index]) * kept
                dense = acts.flatten(0, 1).float().cpu().numpy()
                blocks[index].append(sparse.csr_matrix(dense.astype(np.float64)))

        tokens = corpus.tokens[rows].to(model.device)
        # Logits are not wanted; those of one token a text are the fewest there are.
        model.forward(tokens, at_site=at_site, lengths=torch.ones_like(tokens[:, 0]))
    return {
        model.hooks[index]: sparse.csc_matrix(sparse.vstack([empty[index], *parts]))
        for index, parts in blocks.items()
    }
