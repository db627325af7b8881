"""What heads are known for, measured on random tokens said twice.

On rows "what is prepended, then n random tokens, then the same n again" attention is averaged over
prompts and positions (Olsson et al. 2022, "In-context Learning and Induction Heads"):

    previous     to the token before
    induction    from the second time to the token after the one that stood here the first time
    duplicate    from the second time to the same token the first time
    first        to position 0
    itself       to the same position
"""

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.anatomy import take_apart
from saecircuits.splicing.operators import FULL
from saecircuits.torch_state import in_own_state


def repeated_tokens(
    model: SplicedModel, *, prompts: int = 32, length: int | None = None, seed: int = 0
) -> Int[Tensor, "prompts pos"]:
    """Rows of what is prepended and `length` random tokens, twice; by default as long as the model
    reads.

    No token occurs twice in one half, and none is prepended, so that one place alone is the answer.

    Raises:
        InputError: a length that the model or its vocabulary has no room for.
    """
    front = model.prepended
    others = torch.arange(int(model.bridge.cfg.d_vocab), device="cpu")
    if front.id is not None:
        others = others[others != front.id]
    longest = min((model.n_ctx - front.width) // 2, len(others))
    length = min(longest, 48) if length is None else length
    if not 2 <= length <= longest:
        raise InputError(f"length {length} was asked for; it can be 2 to {longest}")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack(
        [
            others[torch.randperm(len(others), generator=generator, device="cpu")[:length]]
            for _ in range(prompts)
        ]
    )
    before = drawn.new_tensor([front.ids] * prompts).reshape(prompts, front.width)
    return torch.cat([before, drawn, drawn], 1).to(model.device)


@in_own_state
@torch.no_grad()
def behaviours(
    model: SplicedModel, *, prompts: int = 32, length: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """One row per head: `layer`, `head`, and the mean attention of each kind, between 0 and 1.

    The table's `attrs` hold `first_time` and `second_time`, the mean losses in nats at predicting
    the tokens of each half; the second time's first token, which nothing foretells, is left out.
    """
    tokens = repeated_tokens(model, prompts=prompts, length=length, seed=seed)
    first = model.prepended.width
    length = (tokens.shape[1] - first) // 2
    rows = []
    for layer, block in enumerate(take_apart(model, tokens, FULL).blocks):
        pattern = block.attention.pattern

        def back(offset: int, start: int, pattern: Tensor = pattern) -> list[float]:
            """Mean attention `offset` tokens back, queries from `start` on."""
            diagonal = pattern.diagonal(-offset, 2, 3)[..., start - offset :]
            return diagonal.mean((0, 2)).tolist()

        second = first + length
        found = {
            "previous": back(1, first + 1),
            "induction": back(length - 1, second),
            "duplicate": back(length, second),
            "first": pattern[:, :, first + 1 :, 0].mean((0, 2)).tolist(),
            "itself": back(0, first),
        }
        for head in range(pattern.shape[1]):
            row = {name: values[head] for name, values in found.items()}
            rows.append({"layer": layer, "head": head, **row})
    table = pd.DataFrame(rows)
    losses = -model.forward(tokens)[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
    table.attrs["first_time"] = float(losses[:, : second - 1].mean())
    table.attrs["second_time"] = float(losses[:, second:].mean())
    return table
