"""The PDF is the SVG's picture: same box, same words, fonts inside, nothing that runs."""

import io
import re
import time
import xml.etree.ElementTree as ET
from typing import Any

import hypothesis.strategies as st
import pytest
from fontTools.ttLib import TTFont
from hypothesis import given, settings

from saecircuits.publication.figure import draw_figure
from saecircuits.publication.fonts import characters, font_file
from saecircuits.publication.grouping import suggest_groups
from saecircuits.publication.pdf import to_pdf
from saecircuits.publication.svg import text_width
from saecircuits.runs.records import Example
from tests.made import made_circuit, made_labels, made_report
from tests.publication.test_figure import words
from tests.publication.test_layout import CIRCUITS

pypdf = pytest.importorskip("pypdf", reason="pypdf is not installed (extra dev)")


def drawn(text: str = "girl | +She", title: str = "pronoun in stories") -> str:
    circuit = CIRCUITS["usual"]
    return draw_figure(
        circuit,
        made_labels(circuit, text=text),
        made_report(),
        title=title,
        example=Example(clean="A girl", corrupted="A boy", answer=(" She",), wrong=(" He",)),
        groups=suggest_groups(circuit),
    )


def read(data: bytes):
    reader = pypdf.PdfReader(io.BytesIO(data), strict=True)
    (page,) = reader.pages
    return reader, page


def squeezed(text: str) -> str:
    """Without white space: where a line's words stand apart is the reader's guess."""
    return re.sub(r"\s", "", text)


def test_the_page_is_as_large_as_the_picture() -> None:
    svg = drawn()
    _, page = read(to_pdf(svg))
    width, height = map(float, re.findall(r'viewBox="0 0 (\S+) (\S+)"', svg)[0])
    # A pixel of SVG is 1/96 inch, a point 1/72.
    assert [float(side) for side in page.mediabox] == pytest.approx(
        [0, 0, 0.75 * width, 0.75 * height], abs=0.02
    )


def test_every_font_is_inside_and_cut_down() -> None:
    _, page = read(to_pdf(drawn()))
    fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]
    assert len(fonts) == 2
    for font in fonts:
        (descendant,) = font["/DescendantFonts"]
        file = descendant.get_object()["/FontDescriptor"].get_object()["/FontFile2"].get_object()
        assert 1_000 < len(file.get_data()) < 60_000
        assert "DejaVuSans" in font["/BaseFont"] and "+" in font["/BaseFont"]
        assert "/ToUnicode" in font


def test_it_is_vectors_and_its_words_are_found() -> None:
    svg = drawn()
    _, page = read(to_pdf(svg))
    assert not page.images
    found = squeezed(page.extract_text())
    lines = [line for line in map(squeezed, words(ET.fromstring(svg)).split(" ")) if line]
    assert len(lines) > 100
    missing = [line for line in lines if line not in found]
    assert missing == []


def test_equal_pictures_give_equal_bytes_without_a_date() -> None:
    svg = drawn()
    first = to_pdf(svg)
    time.sleep(1.1)  # a date would have passed on to the next second
    assert to_pdf(svg) == first
    reader, _ = read(first)
    assert reader.metadata.creation_date.year == 1970
    assert reader.metadata.title == "pronoun in stories"
    assert "nodes over 3 places" in reader.metadata.subject


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script> & \"'|]]>",
        "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
        "\u4f60\u597d" * 20,
        "\U0001f600 (parens) \\ %PDF /JS",
        "",
    ],
)
def test_foreign_text_stays_text(text: str) -> None:
    reader, page = read(to_pdf(drawn(text=text, title=text)))
    objects = map(reader.get_object, range(1, reader.trailer["/Size"]))
    names = {name for each in objects if isinstance(each, dict) for name in each}
    assert "/MediaBox" in names
    assert not names & {"/JavaScript", "/JS", "/URI", "/Launch", "/AA"}
    # Where it opens: a place on the page, not an action.
    assert isinstance(reader.trailer["/Root"].get("/OpenAction", []), list)
    assert "/Annots" not in page
    found = squeezed(page.extract_text())
    for char in text[:1]:
        shown = char if ord(char) in characters() else f"[U+{ord(char):04X}]"
        assert squeezed(shown) in found


@settings(max_examples=15, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_makes_a_readable_file(text: str) -> None:
    circuit = made_circuit(n_units=2, n_layers=1, n_nodes=6, n_edges=6)
    svg = draw_figure(circuit, made_labels(circuit, text=text), None, title=text)
    read(to_pdf(svg))


def test_widths_are_at_least_the_font_s() -> None:
    for weight in ("normal", "bold"):
        font: Any = TTFont(font_file(weight))  # its tables have types of their own, made on reading
        advances, table = font["hmtx"], font.getBestCmap()
        for text in (
            "girl, woman | +She",
            "Faithfulness 0.83 [0.81, 0.85]",
            "\u2192 \u2212 \u201c",
        ):
            wide = sum(advances[table[ord(char)]][0] for char in text) / font["head"].unitsPerEm
            assert wide <= text_width(text, 1.0, bold=weight == "bold"), (weight, text)
