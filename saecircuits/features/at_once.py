"""How much text goes through the model at one time, so that a publication stays within a limit."""

from typing import Final

from saecircuits.splicing import SplicedModel
from saecircuits.splicing.room import block_numbers

_MOST_TOKENS: Final = 2048
_MOST_TEXTS: Final = 256


def tokens_at_once(model: SplicedModel, memory_limit: int) -> int:
    """Tokens of one pass without gradients: a quarter of the limit is for what a block makes."""
    each = model.working_dtype.itemsize * block_numbers(model)
    return max(1, min(_MOST_TOKENS, memory_limit // 4 // each))


def texts_at_once(model: SplicedModel, length: int, memory_limit: int) -> int:
    """Texts that are sampled together: half of the limit is for their keys, values and logits.

    A text of T tokens has `2 L T H_kv d_head` numbers of keys and values, and while one is added to
    them its layer's twice; of the last token there are four times `d_vocab`.
    """
    cfg = model.bridge.cfg
    heads = int(getattr(cfg, "n_key_value_heads", None) or cfg.n_heads)
    remembered = 2 * (int(cfg.n_layers) + 1) * length * heads * int(cfg.d_head)
    each = model.working_dtype.itemsize * (remembered + 4 * int(cfg.d_vocab))
    return max(1, min(_MOST_TEXTS, memory_limit // 2 // each))
