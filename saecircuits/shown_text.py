"""How tokens and other text of unknown origin are shown to readers."""

import unicodedata

_BREAKS = {"\n": "\u21b5", "\r": "\u21b5", "\t": "\u21e5"}
# What XML 1.0 does not allow, and what would change how the text around it is read.
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def shown_token(token: str) -> str:
    """A token for a label: the space in front is dropped, what cannot be seen gets a sign."""
    stripped = token[1:] if token.startswith(" ") else token
    shown = visible(stripped)
    if not shown.strip():
        return "\u2423" * max(1, len(token))
    # A full stop or comma would be lost among a label's own punctuation.
    return shown if any(char.isalnum() for char in shown) else f"\u2018{shown}\u2019"


def visible(text: str) -> str:
    """The text on one line: breaks as arrows, unprintable characters as a replacement sign."""
    return "".join(
        _BREAKS.get(char) or ("\ufffd" if unicodedata.category(char) in _UNSEEN else char)
        for char in text
    )


def shortened(text: str, length: int) -> str:
    """At most `length` characters, the last an ellipsis if something was cut off."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "\u2026"
