"""The font of pictures, and the part of it that a picture needs.

DejaVu Sans in two weights, cut down to Latin, Greek, Cyrillic and signs; see LICENSE.txt beside it.
"""

import base64
import io
import logging
import xml.etree.ElementTree as ET
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from fontTools import subset
from fontTools.ttLib import TTFont

FAMILY: Final = "DejaVu Sans"
# Where the font inside a picture is not used, one that is about as wide.
STACK: Final = f"'{FAMILY}', Verdana, system-ui, sans-serif"
FILES: Final = {"normal": "DejaVuSans.ttf", "bold": "DejaVuSans-Bold.ttf"}


def font_faces(markup: str) -> str:
    """A style sheet that holds the font, cut down to the characters of the markup's texts.

    Weights that no text has are left out. Equal markup gives equal text.

    Args:
        markup: SVG elements, without the one around them.
    """
    used = {weight: set[str]() for weight in FILES}
    for element in ET.fromstring(f"<svg>{markup}</svg>").iter("text"):
        used[element.get("font-weight", "normal")] |= set(element.text or "")
    return "".join(
        f"@font-face{{font-family:'{FAMILY}';font-weight:{weight};"
        f"src:url(data:font/woff;base64,{_cut(weight, ''.join(sorted(chars)))})}}"
        for weight, chars in used.items()
        if chars
    )


@cache
def characters() -> frozenset[int]:
    """Code points that both weights have a glyph for."""
    tables = [TTFont(font_file(weight)).getBestCmap() for weight in FILES]
    return frozenset.intersection(*(frozenset(table or ()) for table in tables))


def font_file(weight: str) -> Path:
    """Where a weight lies."""
    return Path(str(resources.files("saecircuits.publication.fonts") / FILES[weight]))


@cache
def _cut(weight: str, chars: str) -> str:
    """These characters of the font as WOFF, in base64."""
    logging.getLogger("fontTools.subset").setLevel(logging.WARNING)
    options = subset.Options(flavor="woff", layout_features=[], name_IDs=[1, 2])
    font = subset.load_font(str(font_file(weight)), options)
    cutter = subset.Subsetter(options)
    cutter.populate(text=chars)
    cutter.subset(font)
    data = io.BytesIO()
    subset.save_font(font, data, options)
    return base64.b64encode(data.getvalue()).decode()
