"""`to_pdf`: a picture of `draw_figure` as PDF, vectors and text, for papers.

The PDF is drawn from the SVG itself by fpdf2, so the two cannot differ. Its fonts are embedded, cut
down to what occurs, and its text can be searched. A character that the font has no glyph for is
written by its code point, so small that it stays in its place.
"""

import xml.etree.ElementTree as ET
from datetime import datetime, timezone
from typing import Final

from fpdf import FPDF
from fpdf.svg import SVGObject

from saecircuits.publication.fonts import FAMILY, FILES, characters, font_file
from saecircuits.publication.svg import text_width

_SVG: Final = "http://www.w3.org/2000/svg"
_POINTS: Final = 0.75  # in a pixel of SVG
# A PDF must have a date; the same run gives the same file, so it has no day of its own.
_NO_DATE: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_pdf(svg: str) -> bytes:
    """One page as large as the picture; equal pictures give equal bytes.

    Args:
        svg: what `draw_figure` gives.
    """
    picture = ET.fromstring(svg)
    title, about = (_words(picture, name) for name in ("title", "desc"))
    width, height = (float(picture.get(side, "0")) * _POINTS for side in ("width", "height"))
    for parent in list(picture.iter()):
        for child in list(parent):
            # What is read out or shown on hover is no drawing; the style holds the fonts.
            if child.tag in {f"{{{_SVG}}}{name}" for name in ("title", "desc", "style")}:
                parent.remove(child)
    for element in picture.iter(f"{{{_SVG}}}text"):
        _written(element)
    picture.set("font-family", FAMILY)
    picture.set("width", str(width))
    picture.set("height", str(height))
    pdf = FPDF(unit="pt", format=(width, height))
    pdf.set_creation_date(_NO_DATE)
    pdf.set_auto_page_break(False)
    pdf.set_margin(0)
    pdf.set_title(title)
    pdf.set_subject(about)
    pdf.set_lang("en")
    for weight, style in zip(FILES, ("", "B"), strict=True):
        pdf.add_font(FAMILY, style, font_file(weight))
    pdf.add_page()
    SVGObject(ET.tostring(picture)).draw_to_page(pdf, 0, 0)
    return bytes(pdf.output())


def _words(picture: ET.Element, name: str) -> str:
    found = picture.find(f"{{{_SVG}}}{name}")
    return "" if found is None else found.text or ""


def _written(element: ET.Element) -> None:
    """Puts code points in the place of characters without a glyph."""
    words = element.text or ""
    known = characters()
    shown = "".join(char if ord(char) in known else f"[U+{ord(char):04X}]" for char in words)
    if shown == words:
        return
    size = float(element.get("font-size", "10"))
    share = text_width(words, size) / text_width(shown, size)
    element.text = shown
    element.set("font-size", f"{size * min(1.0, share):.3f}")
