"""How many tokens go through a model at one time, so that what is made stays within a limit.

Sizes are counted in numbers of the working dtype, from upper bounds that hold for every
architecture here. A block makes, of every token,

    24 d_model + 6 d_mlp
"""

from typing import Final

from saecircuits.splicing.model import SplicedModel

# Dense activations of one site that exist together: what the encoder's product, its bias, its gate
# and that gate's result are, or what they now are, less their baseline, with their shares of both
# (`nodes.write`), and of one number a byte.
_DENSE: Final = 6


def block_numbers(model: SplicedModel) -> int:
    """What a block makes of one token, in numbers."""
    cfg = model.bridge.cfg
    d_model = int(cfg.d_model)
    return 24 * d_model + 6 * int(getattr(cfg, "d_mlp", None) or 4 * d_model)


def tokens_within(model: SplicedModel, n_bytes: int, *, n_pos: int) -> int:
    """How many tokens a pass without gradients may have, all of a site's features dense; or 0.

    Beside what a block makes there are, of every token, `4 H n_pos` numbers of attention, and six
    times the widest dictionary.

    Args:
        n_bytes: for the pass.
        n_pos: tokens of the longest prompt.
    """
    widest = max((splice.dictionary.d_sae for splice in model.splices), default=0)
    attention = 4 * int(model.bridge.cfg.n_heads) * n_pos
    numbers = block_numbers(model) + attention + _DENSE * widest
    return n_bytes // (model.working_dtype.itemsize * numbers)
