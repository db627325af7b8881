"""The table of a head's scores: what is asked, what is refused, and what it says."""

import pytest

from saecircuits.errors import InputError, UnknownNameError
from saecircuits.heads import attention
from tests.models import Toy, build_toy

PROMPT = "w3 w7 w11 w7 w5"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return build_toy(tmp_path_factory.mktemp("toy"))


def test_by_default_the_last_token_looks_where_it_looks_most(toy: Toy) -> None:
    found = attention(toy.model, PROMPT, 1, 0)
    assert found.query == 5
    assert found.tokens[1:] == ("w3", "w7", "w11", "w7", "w5")
    assert found.key == found.keys.set_index("key")["pattern"].idxmax()
    assert found.pairs["share"].sum() == pytest.approx(1)


def test_sides_add_up_to_the_same(toy: Toy) -> None:
    found = attention(toy.model, PROMPT, 1, 0, query=4, key=2)
    for side in (found.query_terms, found.key_terms):
        assert side["score"].sum() == pytest.approx(found.pairs["score"].sum())
        assert side["contrast"].abs().is_monotonic_decreasing
    assert {"error", "b_dec", "bias"} < set(found.key_terms["key_term"])
    assert found.key_terms["key_term"].str.startswith("feature ").any()


def test_the_same_key_term_draws_nothing(toy: Toy) -> None:
    # The key's bias is the same at every key, so no attention is due to it.
    found = attention(toy.model, PROMPT, 1, 0)
    terms = found.key_terms.set_index("key_term")
    assert terms.loc["bias", "contrast"] == pytest.approx(0, abs=1e-12)
    assert terms.loc["bias", "score"] != 0


def test_a_contrast_can_be_against_all_keys_alike(toy: Toy) -> None:
    found = attention(toy.model, PROMPT, 1, 0, query=4, key=2, against="uniform")
    scores = found.keys.set_index("key")["score"]
    assert found.pairs["contrast"].sum() == pytest.approx(scores[2] - scores.mean())
    assert found.keys["contrast"].sum() == pytest.approx(0, abs=1e-9)


def test_ids_and_negative_positions_are_taken(toy: Toy) -> None:
    ids = [0, *toy.model.tokenizer.encode(PROMPT, add_special_tokens=False)]
    by_text = attention(toy.model, PROMPT, 2, 1, query=-2)
    by_ids = attention(toy.model, ids, 2, 1, query=4)
    assert by_text.to_json() == by_ids.to_json()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layer": 3}, "layers 0 to 2"),
        ({"head": 2}, "heads 0 to 1"),
        ({"query": 6}, "query 6 .* tokens 0 to 5"),
        ({"query": 2, "key": 4}, "behind the mask"),
        ({"layer": 0}, "no dictionary .* layer 0 reads; .* blocks.0.hook_resid_pre"),
        ({"prompt": [0]}, "at least two"),
    ],
)
def test_what_is_not_there_is_refused(toy: Toy, given: dict[str, object], message: str) -> None:
    asked: dict[str, object] = {"prompt": PROMPT, "layer": 1, "head": 0, **given}
    with pytest.raises(InputError, match=message):
        attention(toy.model, **asked)  # pyright: ignore[reportArgumentType]


def test_unknown_choices_are_refused(toy: Toy) -> None:
    with pytest.raises(UnknownNameError, match="features"):
        attention(toy.model, PROMPT, 1, 0, by="feature")
    with pytest.raises(UnknownNameError, match="uniform"):
        attention(toy.model, PROMPT, 1, 0, against="all")
