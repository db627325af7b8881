"""Choices: a table of named objects for each, in which a user's own object can stand in for a row.

Every object has a `name`, as it stands in settings, files and on the command line, and a
`description` in a few words for cards, help and docs. Settings hold the name of a row or an object.
A name is looked up where the choice is carried out, so that no other place compares it.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from saecircuits.errors import InputError, UnknownNameError
from saecircuits.kinds import described

C = TypeVar("C")


def looked_up(what: str, given: str | C, table: Mapping[str, C], kind: type[C]) -> C:
    """The row of this name, or the object that was given in its place.

    Args:
        what: the choice, as messages call it.
        kind: what every object of this choice is.

    Raises:
        UnknownNameError: no row of this name.
        InputError: an object of another kind, or one that has the name of a row and is another:
            files would say what was not done.
    """
    if isinstance(given, kind):
        name = name_of(given)
        if name in table and type(table[name]) is not type(given):
            raise InputError(
                f"{what} {name!r} is one of this package's; give {described(given)} another name"
            )
        return given
    if not isinstance(given, str):
        names = ", ".join(map(repr, table))
        raise InputError(
            f"{what} is {described(given)}; give one of {names}, or a {kind.__name__} of your own"
        )
    if given not in table:
        raise UnknownNameError(what, given, table)
    return table[given]


def name_of(given: Any) -> str:
    """The name of a choice that is held by name or as an object."""
    return given if isinstance(given, str) else given.name
