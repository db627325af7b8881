"""Tables over tokens are parts of what the model computes. (That they are the whole of an
attention-only model: tests/laws/test_classical_terms.py.)
"""

import pytest
import torch

from saecircuits.errors import InputError
from saecircuits.heads import attention, skip_trigrams, virtual_head
from saecircuits.splicing.anatomy import take_apart
from saecircuits.splicing.operators import FULL
from tests.models import Toy, build_toy

PROMPT = [0, 7, 3, 11, 7]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return build_toy(tmp_path_factory.mktemp("toy"))


def test_tokens_attend_to_tokens_as_the_table_says(toy: Toy) -> None:
    query, key = 4, 2
    pairs = attention(toy.model, PROMPT, 0, 1, query=query, key=key, by="components").pairs
    found = pairs.set_index(["query_term", "key_term"]).loc[("tokens", "tokens"), "score"]
    scale = take_apart(toy.model, torch.tensor([PROMPT]), FULL).blocks[0].attention.norm.scale
    table = skip_trigrams(toy.model, 0, 1).attends
    expected = table[PROMPT[query], PROMPT[key]] / (scale[0, query, 0] * scale[0, key, 0])
    assert found == pytest.approx(float(expected), rel=1e-9)


def test_a_virtual_head_looks_where_the_second_finds_what_the_first_brought(toy: Toy) -> None:
    found = virtual_head(toy.model, PROMPT, (0, 1), (2, 0))
    torch.testing.assert_close(found.pattern.sum(-1), torch.ones(5).double())
    assert not found.pattern.triu(1).any()
    assert found.size > 0


def test_the_second_head_has_to_be_later(toy: Toy) -> None:
    with pytest.raises(InputError, match="later layer"):
        virtual_head(toy.model, PROMPT, (1, 0), (1, 1))
