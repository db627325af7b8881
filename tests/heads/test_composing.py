"""Composition of the heads of a model, and the features that carry it."""

import pytest
import torch

from saecircuits.errors import InputError
from saecircuits.heads import carriers, composition
from saecircuits.splicing import observe
from saecircuits.splicing.anatomy import take_apart
from saecircuits.splicing.operators import FULL
from saecircuits.splicing.parts import stream_parts
from tests.models import Toy, build_toy

PROMPT = [0, 7, 3, 11, 7]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return build_toy(tmp_path_factory.mktemp("toy"))


@pytest.mark.parametrize("prompt", [None, PROMPT])
def test_every_pair_of_heads_of_different_layers_is_there(
    toy: Toy, prompt: list[int] | None
) -> None:
    table = composition(toy.model, prompt)
    assert len(table) == 2 * 2 * 3
    assert table[["q", "k", "v"]].stack().between(0, 1).all()
    assert (table["writer"].str[1] < table["reader"].str[1]).all()


def test_one_entry_by_hand(toy: Toy) -> None:
    table = composition(toy.model).set_index(["writer", "reader"])
    first, second = (
        take_apart(toy.model, torch.tensor([PROMPT]), FULL).blocks[layer].attention
        for layer in (0, 2)
    )
    centre = torch.eye(14).double() - 1 / 14
    maps = [centre @ torch.diag(layer.norm.weight) for layer in (first, second)]
    writes = maps[0] @ first.W_V[1] @ first.W_O[1]
    keys = maps[1] @ second.W_K[0] @ second.W_Q[0].T @ maps[1].T
    expected = (writes @ keys).norm() / (writes.norm() * keys.norm())
    assert table.loc[("L0.H1", "L2.H0"), "k"] == pytest.approx(float(expected), rel=1e-9)


def test_activations_are_made_of_what_components_write(toy: Toy) -> None:
    tokens = torch.tensor([PROMPT])
    found = carriers(toy.model, PROMPT, (0, 1), (1, 0)).set_index("feature")["written"]
    dictionary = toy.model.splices[0].dictionary
    acts = observe(toy.model, tokens).sites[0].features[0]
    parts = stream_parts(toy.model, tokens, take_apart(toy.model, tokens, FULL), 1)
    for feature in found.index:
        at = acts[:, feature] > 0
        row = dictionary.encoder_rows(torch.tensor([feature]))[0]
        others = sum(float((p.stream[0, at] @ row).sum()) for p in parts if p.component != "L0.H1")
        constant = float(dictionary.b_enc[feature] - dictionary.shift @ row) * int(at.sum())
        whole = float(acts[at, feature].sum())
        assert found[feature] + others + constant == pytest.approx(whole, rel=1e-9)


def test_a_reader_has_to_be_behind_the_writer(toy: Toy) -> None:
    with pytest.raises(InputError, match="later layer"):
        carriers(toy.model, PROMPT, (1, 0), (1, 1))
