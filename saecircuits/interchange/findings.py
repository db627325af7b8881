"""What a check found, and how its messages name things."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from saecircuits.errors import bounded, cut
from saecircuits.interchange.viewers import Viewer

Level: TypeAlias = Literal["error", "warning"]
VIEWERS: Final = get_args(Viewer)
SHOWN: Final = 3
_NAME: Final = 60  # characters of an id that a message quotes
_DIGITS: Final = 9  # of a layer or feature


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a file.

    Attributes:
        level: `error`: the viewers crash, refuse it or show something else; `warning`: they show
            less.
        rule: the rule's name.
        message: what was found and what would be right.
        viewers: which of them it concerns.
    """

    level: Level
    rule: str
    message: str
    viewers: tuple[Viewer, ...] = VIEWERS

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", bounded(self.message))


def is_number(value: Any) -> bool:
    """Whether JSON and all its readers know it as a number: as a double, that is."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all doubles
        return False


def is_integer(value: Any) -> bool:
    """Whether it is a whole number of at most 64 bits, as tables and other programs hold them."""
    return is_number(value) and float(value).is_integer() and abs(value) < 2**63


def whole_number(value: Any) -> int | None:
    """A number such as a layer's, from 0, given as a number or as text; None for anything else."""
    text = str(value)
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else None


def repeated(values: Any) -> list[Any]:
    """What is there more than once."""
    counted = Counter(values)
    return sorted((value for value, count in counted.items() if count > 1), key=str)


def some(values: Any) -> str:
    """The first few by name, and how many more."""
    listed: Sequence[str] = [cut(str(value), _NAME) for value in values]
    more = f", and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(map(repr, listed[:SHOWN])) + more
