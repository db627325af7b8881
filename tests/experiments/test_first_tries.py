"""Stand-ins of what people have: dictionaries that describe something, in layouts that are read."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from experiments.first_tries.stand_ins import (
    as_dictionary_learning,
    as_sae_lens,
    as_transcoder_set,
    dictionary,
)
from saecircuits.splicing.folders import read_dictionaries

READ = torch.randn(83, 17, generator=torch.Generator().manual_seed(3))
WRITE = torch.tanh(READ @ torch.randn(17, 13, generator=torch.Generator().manual_seed(4)))


def _explained(guess: Tensor, truth: Tensor) -> float:
    return 1 - float((guess - truth).square().sum() / (truth - truth.mean(0)).square().sum())


@pytest.mark.parametrize("layout", ["sae_lens", "dictionary_learning", "transcoder_set"])
def test_a_stand_in_is_read_and_describes_something(layout: str, tmp_path: Path) -> None:
    write = WRITE if layout == "transcoder_set" else READ
    weights = dictionary(READ, write, 211, seed=1)
    if layout == "sae_lens":
        as_sae_lens(tmp_path / "sae", weights, "blocks.1.hook_resid_post", "mine")
    elif layout == "dictionary_learning":
        as_dictionary_learning(tmp_path / "sae", weights, 1, "mine")
    else:
        (tmp_path / "config.yaml").write_text("model_kind: transcoder_set\n", encoding="utf-8")
        as_transcoder_set(tmp_path, 1, weights)
    (found,) = read_dictionaries(tmp_path).dictionaries
    assert found.writes.startswith("blocks.1.")
    assert _explained(found.load().reconstruct(READ), write) > 0.05
