"""The one exception family.

Every error says what was asked, what was found, and what would be right. `InputError` and its
children are the caller's to mend (the command line exits with 2); any other exception that leaves
the package is a fault of ours (exit 1).
"""

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Final

# A message quotes input, which may be of any length: beyond `_LONGEST` its middle is left out.
_LONGEST, _HEAD, _TAIL = 500, 300, 190
_NAME: Final = 80
# What a terminal would act on, or not show: control and format characters, broken halves of
# characters, and the two separators that end a line.
_ACTIVE: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")


def inert(text: str, *, keep: str = "") -> str:
    """The text with everything that a terminal would act on written as an escape (`\\x1b`).

    Args:
        keep: characters that stay.
    """
    return "".join(
        repr(char)[1:-1] if unicodedata.category(char) in _ACTIVE and char not in keep else char
        for char in text
    )


def bounded(message: str) -> str:
    """A message as one line of bounded length: of a long one, its beginning and its end."""
    line = inert(message)
    return line if len(line) <= _LONGEST else f"{line[:_HEAD]} [...] {line[-_TAIL:]}"


def cut(text: str, longest: int) -> str:
    """At most `longest` characters, the last three dots if something was left out."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def public_path(given: str | Path) -> str:
    """A path as it may stand in a published file: of an absolute one the last part alone."""
    path = Path(given)
    return path.name if path.is_absolute() else str(given)


class SaecircuitsError(Exception):
    """Anything this package raises on purpose: one line, of bounded length."""

    def __init__(self, message: object = "") -> None:
        super().__init__(bounded(str(message)))


class InputError(SaecircuitsError):
    """What the caller gave cannot be used; the message says what would be right."""


class UnknownNameError(InputError):
    """A name that is not among the known ones; near alternatives are listed."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        choices = sorted(known)
        name = cut(name, _NAME)
        near = get_close_matches(name, choices, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        shown = ", ".join(choices[:12]) + (", ..." if len(choices) > 12 else "")
        super().__init__(f"unknown {what} {name!r}; {hint}known: {shown or 'none'}")


def check_seed(seed: int) -> None:
    """Refuses a seed that a generator does not take.

    Raises:
        InputError: a negative one, or one of more than 63 bits.
    """
    if not 0 <= seed < 2**63:
        raise InputError(f"seed is {seed}; it must be 0 or more, and below 2^63")


class SiteError(InputError):
    """A hook point that cannot carry a dictionary, or does not exist in the model."""


class DictionaryError(InputError):
    """A dictionary that does not fit the model, or whose kind is not supported."""


class TaskError(InputError):
    """A task file or prompt pair that cannot be used."""


class RunFolderError(InputError):
    """A run's folder that is missing, incomplete, or in the way."""


class MissingExtraError(InputError, ImportError):
    """Something that needs a package which a plain installation does not bring."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the package {package!r}, which is not installed; install it with "
            f"pip install 'saecircuits[{extra}]'"
        )


class NotCoveredError(InputError):
    """The model is not made of the parts that are known here; the message says what is not."""


class ModelError(InputError):
    """A model that cannot be loaded, or whose files are not what their manifest says."""
