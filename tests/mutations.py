"""Small random damage to documents: how files look that were edited, cut or made by others."""

import copy
import random
from collections.abc import Iterator
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, -1e308, 1e308, float("nan"), float("inf"), 2**31, 2**63,
    -(2**70), 10**400, "", " ", "x", "1", "-1", "9" * 5000, "x" * 20_000, "\ud800", "\x1b[31m",
    "[/red]", "[bold]", "a\nb", "NaN", "\u0664", [], {}, [[]], [None],
    ["a", "a"], {"a": 1}, {"": []},
)  # fmt: skip
TEXTS = (
    b"", b"9" * 5000, b"NaN", b"-1", b"1e999", b"\"", b"\x00", b"\xff", b"<", b">", b"&x;",
    b"<a>", b"\n", b",", b",,,,", b"{", b"[", b"]" * 9, b"null", b"[" * 3000, b"\\ud800",
)  # fmt: skip


def damaged(document: Any, seed: int) -> Any:
    """A copy with one to three places changed: a value, a key, an item more or less."""
    draw = random.Random(seed)
    found = copy.deepcopy(document)
    for _ in range(draw.choice((1, 1, 2, 3))):
        places = list(_places(found))
        if not places:
            return draw.choice(VALUES)
        holder, key = draw.choice(places)
        match draw.randrange(8):
            case 0:
                del holder[key]
            case 1:
                holder[key] = [holder[key]]
            case 2 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case 3 if isinstance(holder, dict):
                holder[draw.choice(("x", "", "name", "id", "source"))] = draw.choice(VALUES)
            case 4:
                other, at = draw.choice(places)
                holder[key] = copy.deepcopy(other.get(at) if isinstance(other, dict) else other)
            case _:
                holder[key] = copy.deepcopy(draw.choice(VALUES))
    return draw.choice(VALUES) if draw.random() < 0.01 else found


def cut_up(data: bytes, seed: int) -> bytes:
    """A copy with one to three places of the bytes removed, repeated or written over."""
    draw = random.Random(seed)
    for _ in range(draw.choice((1, 1, 2, 3))):
        start = draw.randrange(len(data) + 1)
        stop = min(len(data), start + draw.choice((0, 1, 2, 5, 20, 200)))
        match draw.randrange(4):
            case 0:
                data = data[:start] + data[stop:]
            case 1:
                data = data[:stop] + data[start:]
            case 2:
                data = data[:start] if draw.random() < 0.3 else data[:start] + b" " + data[stop:]
            case _:
                data = data[:start] + draw.choice(TEXTS) + data[stop:]
    return data


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys; of long lists the first ones."""
    keys = (
        list(value) if isinstance(value, dict) else range(min(len(value), 12))
        if isinstance(value, list) else ()
    )  # fmt: skip
    for key in keys:
        yield value, key
        yield from _places(value[key])
