"""The metric of a task: how much the model prefers the right answer."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saecircuits.tasks.prompts import Prompts


def last_position_logits(
    logits: Float[Tensor, "batch pos d_vocab"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch d_vocab"]:
    """The logits at each prompt's last token, where the answer is predicted; padding is passed by.

    Args:
        logits: next-token logits at every position of right-padded prompts, or, with one
            position, at the last alone.
        lengths: tokens of each prompt, what is prepended included, padding not.
    """
    if logits.shape[1] == 1:
        return logits[:, 0]
    rows = torch.arange(len(lengths), device=logits.device)
    return logits[rows, lengths.to(logits.device) - 1]


def logit_difference(
    final_logits: Float[Tensor, "batch d_vocab"], prompts: Prompts
) -> Float[Tensor, " batch"]:
    """The logit difference of each prompt, positive where the right answer is preferred.

        m = mean of logit[a] over the answers a  -  mean of logit[w] over the wrong answers w

    The answers are those of the clean prompt, also when the logits come from the corrupted prompt
    or from an intervention; a model that does the task is positive on clean prompts and lower on
    corrupted ones.

    Args:
        final_logits: logits at the last token of each prompt, as `last_position_logits` gives.
        prompts: the pairs, in the order of the rows.

    Returns:
        One value a prompt, in logits.
    """
    right = _masked_mean(final_logits, prompts.answer_tokens, prompts.answer_mask)
    return right - _masked_mean(final_logits, prompts.wrong_tokens, prompts.wrong_mask)


def _masked_mean(
    logits: Float[Tensor, "batch d_vocab"],
    tokens: Int[Tensor, "batch n_token"],
    mask: Bool[Tensor, "batch n_token"],
) -> Float[Tensor, " batch"]:
    chosen = logits.gather(1, tokens.to(logits.device))
    kept = mask.to(logits.device)
    # `where`, not a product: a padded entry may hold an infinite logit, and 0 * inf is nan.
    return torch.where(kept, chosen, 0.0).sum(1) / kept.sum(1)
