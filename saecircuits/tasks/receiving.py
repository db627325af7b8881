"""Who receives: of two people, the one who does not give."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations, product

from saecircuits.tasks.templates import Contrast, Side


def who_receives(
    scenes: Iterable[tuple[str, str]],
    places: Iterable[str],
    names: Sequence[str],
    gifts: Iterable[str],
) -> Iterator[Contrast]:
    """Two people are named, then one of them gives; in the corrupted prompt it is the other.

    Args:
        scenes: what comes before the two names, and behind them up to the one who gives, with
            `{}` for the place.
        gifts: what is done, such as "gave a letter"; " to" follows.
    """
    for (opening, scene), place, pair, gift in product(
        scenes, places, permutations(names, 2), gifts
    ):
        yield (
            _side(opening, pair, scene.format(place), 0, gift),
            _side(opening, pair, scene.format(place), 1, gift),
        )


def _side(opening: str, names: tuple[str, str], scene: str, giver: int, gift: str) -> Side:
    pieces = (
        ("opening", opening),
        ("first", f" {names[0]}"),
        ("and", " and"),
        ("second", f" {names[1]}"),
        ("scene", scene),
        ("giver", f" {names[giver]}"),
        ("gift", f" {gift}"),
        ("to", " to"),
    )
    return Side(pieces, f" {names[1 - giver]}")
