"""What an edge goes through, in words: by hand."""

import pytest

from saecircuits.edges.columns import Row
from saecircuits.publication.through import through_note, through_phrase

NAN = float("nan")


def part(name: str, effect: float, value: float = NAN, key: float = NAN, query: float = NAN) -> Row:
    return {"part": name, "effect": effect, "value": value, "key": key, "query": query}


@pytest.mark.parametrize(
    ("effect", "parts", "phrase"),
    [
        (2.0, [part("residual", 2.0)], "`residual`"),
        (2.0, [part("L0.MLP", 0.5), part("residual", 1.5)], "`residual` 75%, `L0.MLP` 25%"),
        # Shares are of the edge and have its sign: of an edge of -2 a part of -1 is a half.
        (
            -2.0,
            [part("L0.MLP", 1.0), part("residual", -3.0)],
            "`residual` 150%, `L0.MLP` \u221250%",
        ),
        # The largest three at most, and none but the first under a tenth.
        (
            1.0,
            [part("L0.MLP", 0.3), part("L1.MLP", 0.2), part("L2.MLP", 0.26), part("L3.MLP", 0.24)],
            "`L0.MLP` 30%, `L2.MLP` 26%, `L3.MLP` 24%",
        ),
        (
            1.0,
            [part("residual", 0.91), part("L0.MLP", 0.09)],
            "`residual` 91%",
        ),
        (1.0, [part(f"L{n}.MLP", 0.0625) for n in range(16)], "`L0.MLP` 6%"),
        # A head's ways, as shares of the edge; one that is nearly all goes without.
        (2.0, [part("L2.H1", 2.0, 1.2, 0.8, 0.0)], "`L2.H1` (value 60%, key 40%)"),
        (2.0, [part("L2.H1", 2.0, 0.2, 0.1, 1.7)], "`L2.H1` (query)"),
        (2.0, [part("L2.H1", 0.5, 1.0, -0.5, 0.0)], "`L2.H1` 25% (value 50%, key \u221225%)"),
        # What cancels to nothing has no shares, and what has no parts no phrase.
        (0.0, [part("residual", 1.0), part("L0.MLP", -1.0)], ""),
        (1.0, [], ""),
    ],
)
def test_phrases(effect: float, parts: list[Row], phrase: str) -> None:
    assert through_phrase(parts, effect) == phrase


def test_the_note_speaks_of_what_is_not_told_apart_only_where_it_is() -> None:
    assert "not told apart" not in through_note(["residual", "L1.H0>L2.MLP"])
    assert "`later` stands for" in through_note(["residual", "L1.H0>later"])
