"""How tokens and other text of unknown origin are shown to readers."""

import re
import unicodedata

_BREAKS = {"\n": "\u21b5", "\r": "\u21b5", "\t": "\u21e5"}
# What XML 1.0 does not allow, and what would change how the text around it is read.
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def shown_token(token: str) -> str:
    """A token for a label: the space in front is dropped, what cannot be seen gets a sign."""
    stripped = token[1:] if token.startswith(" ") else token
    shown = visible(stripped)
    return shown if shown.strip() else "\u2423" * max(1, len(token))


def visible(text: str) -> str:
    """The text on one line: breaks as arrows, unprintable characters as a replacement sign."""
    return "".join(
        _BREAKS.get(char)
        or ("\ufffd" if unicodedata.category(char) in _UNSEEN else char)
        for char in text
    )


def shortened(text: str, length: int) -> str:
    """At most `length` characters, the last an ellipsis if something was cut off."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "\u2026"


def markdown(text: str) -> str:
    """The text on one line as Markdown that shows it literally, also in a table's cell."""
    entities = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]{}()#+\-.!|~$])", r"\\\1", entities)
