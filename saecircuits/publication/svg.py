"""Pieces of SVG text, and how wide text will be where nobody can measure it.

Widths are those of a wide sans font or more, so that text that fits here fits in the font that the
picture carries (`fonts`), and in the reader's own where a program does not use that one.
"""

import unicodedata
from collections.abc import Sequence
from html import escape as escape_markup
from typing import Final

from saecircuits.shown_text import shortened, visible

FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
_BOLD: Final = 1.12
# Advance in units of the font size.
_WIDTHS: Final = {
    char: width
    for width, chars in (
        (0.32, "ijlI.,:;|!'` "),
        (0.42, 'ftr()[]{}/\\-"J'),
        (0.58, "cszkvxyL?*^F_"),
        (0.65, "abdeghnopqu0123456789TZSEPY\u2026"),
        (0.78, "ABCDGHKNOQRUVX$&"),
        (0.99, "mwMW%@#+=<>~\u2212\u00b7"),
    )
    for char in chars
}


def escape(text: str) -> str:
    """Text as XML content or attribute: markup escaped, and on one line."""
    return escape_markup(visible(text), quote=True)


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """At most how wide the text will be, in pixels."""
    em = sum(_char_width(char) for char in visible(text))
    return em * size * (_BOLD if bold else 1.0)


def fitted(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """The text, cut off with an ellipsis if it is wider than `width`."""
    length = len(text)
    cut = text
    while length > 1 and text_width(cut, size, bold=bold) > width:
        length -= 1
        cut = shortened(text, length)
    return cut


def wrapped(text: str, width: float, size: float) -> list[str]:
    """The text in lines no wider than `width`; a single word that is wider is cut off."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(fitted(word, width, size))
    return lines


def tag(name: str, content: str | Sequence[str] = "", **attributes: object) -> str:
    """One element; `_` in attribute names stands for `-`, and floats are cut to two decimals."""
    given = "".join(
        f' {key.replace("_", "-")}="{escape(_value(value))}"' for key, value in attributes.items()
    )
    inner = content if isinstance(content, str) else "".join(content)
    return f"<{name}{given}>{inner}</{name}>" if inner else f"<{name}{given}/>"


def text(
    x: float, y: float, content: str, *, size: float, fill: str = "#222", **attributes: object
) -> str:
    """One line of text with its baseline at y."""
    return tag("text", escape(content), x=x, y=y, font_size=size, fill=fill, **attributes)


def _char_width(char: str) -> float:
    if char in _WIDTHS:
        return _WIDTHS[char]
    return 1.1 if unicodedata.east_asian_width(char) in "WF" else 0.9


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
