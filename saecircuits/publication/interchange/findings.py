"""What a check found, and how its messages name things."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from saecircuits.publication.interchange.viewers import Viewer

Level: TypeAlias = Literal["error", "warning"]
VIEWERS: Final = get_args(Viewer)
SHOWN: Final = 3


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


def is_number(value: Any) -> bool:
    """Whether JSON and all its readers know it as a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def repeated(values: Any) -> list[Any]:
    """What is there more than once."""
    counted = Counter(values)
    return sorted((value for value, count in counted.items() if count > 1), key=str)


def some(values: Any) -> str:
    """The first few by name, and how many more."""
    listed: Sequence[str] = [str(value) for value in values]
    more = f", and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(map(repr, listed[:SHOWN])) + more
