"""What one head does to another through its queries, its keys and its values: path patching.

The writer's result is taken out of the stream that the reader reads, and out of nothing else; the
reader's queries, keys or values are computed from that stream, its norm recomputed, and take the
place of its own (Goldowsky-Dill et al. 2023; Elhage et al. 2021 call the three Q-, K- and
V-composition).
"""

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saecircuits.errors import InputError
from saecircuits.heads.reading import check_head
from saecircuits.splicing import SplicedModel
from saecircuits.splicing.anatomy import take_apart
from saecircuits.splicing.operators import FULL
from saecircuits.splicing.parts import stream_parts
from saecircuits.splicing.reads import WAYS, Way, reads, run_reading
from saecircuits.torch_state import in_own_state


@in_own_state
@torch.no_grad()
def path_effects(
    model: SplicedModel,
    tokens: Int[Tensor, "batch pos"],
    writer: tuple[int, int],
    reader: tuple[int, int],
    *,
    offset: int,
    start: int,
) -> pd.DataFrame:
    """Takes the paths from one head to a later one away, one at a time.

    In place of what the writer adds stands its mean over prompts, at every position.

    Args:
        writer: layer and head; `reader` of a later layer.
        offset: how many tokens back the reader is expected to look, for instance the length of the
            repeated segment less 1 for induction.
        start: the first query that is counted.

    Returns:
        One row per `path`: `none` (the clean run), `q`, `k`, `v` and `qkv` (all at once), with
        `attention` (the reader's mean attention `offset` tokens back) and `loss` (mean loss in
        nats at predicting the tokens after those queries), and `attention_lost`, `loss_gained`.

    Raises:
        InputError: a head that is not there, or a reader that is not behind the writer.
    """
    for layer, head in (writer, reader):
        check_head(model, layer, head)
    if writer[0] >= reader[0]:
        raise InputError(
            f"reader L{reader[0]}.H{reader[1]} does not read what L{writer[0]}.H{writer[1]} "
            "writes: give a reader of a later layer"
        )
    tokens = tokens.to(model.device)
    parts = stream_parts(model, tokens, take_apart(model, tokens, FULL), reader[0])
    name = f"L{writer[0]}.H{writer[1]}"
    written = next(part.stream for part in parts if part.component == name)
    stream = sum((part.stream for part in parts), torch.zeros_like(written))
    without = reads(model, tokens, reader[0], stream - written + written.mean(0, keepdim=True))
    rows = []
    for path in ("", *WAYS, "qkv"):
        instead: dict[Way, Tensor] = {way: without[way] for way in WAYS if way in path}
        logits, pattern = run_reading(model, tokens, *reader, instead)
        rows.append(
            {
                "path": path or "none",
                "attention": float(pattern.diagonal(-offset, 1, 2)[:, start - offset :].mean()),
                "loss": _loss(logits, tokens, start),
            }
        )
    table = pd.DataFrame(rows)
    table["attention_lost"] = table["attention"].iloc[0] - table["attention"]
    table["loss_gained"] = table["loss"] - table["loss"].iloc[0]
    return table


def _loss(
    logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"], start: int
) -> float:
    chances = logits[:, start:-1].log_softmax(-1)
    return -float(chances.gather(-1, tokens[:, start + 1 :, None]).mean())
