"""The picture is well-formed whatever it is given, readable, and says what it leaves out."""

import random
import re
import xml.etree.ElementTree as ET
from itertools import combinations
from typing import Any

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given, settings

from saecircuits.circuits import Circuit
from saecircuits.publication.figure import draw_figure
from saecircuits.publication.svg import fitted, text_width, wrapped
from saecircuits.runs.records import Example
from tests.found import Found
from tests.made import made_circuit, made_labels, made_report
from tests.publication.test_layout import CIRCUITS, made_groups

SVG = "{http://www.w3.org/2000/svg}"
EXAMPLE = Example(clean="A girl", corrupted="A boy", answer=(" She",), wrong=(" He", " It"))
HOSTILE = "<script>alert(1)</script> & \"'|]]>"


def drawn(circuit: Circuit, **options) -> ET.Element:
    labels = options.pop("labels", made_labels(circuit))
    report = options.pop("report", made_report())
    title = options.pop("title", "pronoun in stories")
    return ET.fromstring(draw_figure(circuit, labels, report, title=title, **options))


def words(picture: ET.Element) -> str:
    return " ".join(element.text or "" for element in picture.iter(f"{SVG}text"))


def text_boxes(picture: ET.Element) -> list[tuple[float, float, float, float, str]]:
    """(left, top, right, bottom, text) of every line, in the picture's coordinates."""
    found = []

    def visit(element: ET.Element, dx: float, dy: float) -> None:
        move = re.fullmatch(r"translate\((\S+) (\S+)\)", element.get("transform", ""))
        if move:
            dx, dy = dx + float(move[1]), dy + float(move[2])
        if element.tag == f"{SVG}text":
            size = float(element.get("font-size", "10"))
            wide = text_width(element.text or "", size, bold=element.get("font-weight") == "bold")
            x = float(element.get("x", "0")) + dx
            x -= {"middle": wide / 2, "end": wide}.get(element.get("text-anchor", ""), 0)
            y = float(element.get("y", "0")) + dy
            found.append((x, y - 0.75 * size, x + wide, y + 0.2 * size, element.text or ""))
        for child in element:
            visit(child, dx, dy)

    visit(picture, 0, 0)
    return found


def measured_report(circuit: Circuit):
    """With every figure that a picture draws; drops of either sign."""
    draw = random.Random(3)
    members = circuit.nodes.loc[circuit.nodes["kind"].isin(["feature", "error"]), "node"]
    drops = [{"node": node, "drop": draw.uniform(-0.2, 0.6)} for node in members]
    rows = [
        {"baseline": baseline, "ablate": ablate, "faithfulness": draw.uniform(-0.3, 1.2),
         "faithfulness_low": -0.4, "faithfulness_high": 1.25}
        for baseline in ("corrupted", "mean", "zero", "resample")
        for ablate in ("nodes", "edges")
    ]  # fmt: skip
    groups = [
        {"nodes": list(group.nodes), "drop": 0.5 - number, "low": 0.4 - number, "high": 0.6}
        for number, group in enumerate(made_groups(circuit))
    ]
    return made_report(
        minimality={"least": 0.0, "node": None, "drops": drops},
        ablations=pd.DataFrame(rows),
        groups=groups,
    )


@pytest.mark.parametrize("how", ["plain", "groups", "measured"])
@pytest.mark.parametrize("name", CIRCUITS)
def test_no_text_overlaps_or_leaves_the_picture(name: str, how: str) -> None:
    circuit = CIRCUITS[name]
    more: dict[str, Any] = {} if how == "plain" else {"groups": made_groups(circuit)}
    if how == "measured":
        more["report"] = measured_report(circuit)
    picture = drawn(circuit, example=EXAMPLE, **more)
    boxes = text_boxes(picture)
    assert len(boxes) > 15
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)
    width, height = float(picture.get("width", 0)), float(picture.get("height", 0))
    for left, top, right, bottom, text in boxes:
        assert left >= 0 and top >= 0 and right <= width and bottom <= height, text


def test_the_picture_says_how_faithful_the_circuit_is_and_what_is_left_out() -> None:
    circuit = CIRCUITS["deep"]
    found = words(drawn(circuit, example=EXAMPLE))
    assert "Faithfulness 0.88 [0.75, 0.94] on 24 held-out prompts" in found
    assert "0.50 with every error node at its baseline" in found
    assert re.search(r"Showing \d+ of 80 nodes \(\d+% of their summed \|effect\|\)", found)
    assert re.search(r"and \d+ of 300 edges \(\d+%\)", found)
    assert "\u201cA girl\u201d \u2192 \u201c She\u201d" in found
    assert "\u201c He\u201d or \u201c It\u201d" in found


def test_an_unvalidated_circuit_says_so() -> None:
    found = words(drawn(CIRCUITS["usual"], report=None))
    assert "Not validated: no faithfulness was measured." in found
    assert "Faithfulness" not in found


def test_sign_is_coded_by_colour_and_by_dash() -> None:
    picture = drawn(CIRCUITS["usual"])
    paths = [(title_of(path), path) for path in picture.iter(f"{SVG}path") if title_of(path)]
    effects = CIRCUITS["usual"].edges.set_index(["source", "target"])["effect"]
    assert paths
    for title, path in paths:
        source, target = title.rpartition(": ")[0].split(" \u2192 ")
        is_positive = effects[source, target] >= 0
        assert (path.get("stroke-dasharray") is None) == is_positive
        assert path.get("stroke") == ("#0072b2" if is_positive else "#c64f00")


def title_of(element: ET.Element) -> str:
    """The tooltip of an element; empty where it has none."""
    return element.findtext(f"{SVG}title") or ""


def bars(picture: ET.Element) -> list[tuple[str, ET.Element]]:
    """Tooltip and bar of every box that has one."""
    found = []
    for group in picture.iter(f"{SVG}g"):
        title = title_of(group)
        for bar in group.findall(f"{SVG}rect"):
            if title and bar.get("height") == "6":
                found.append((title, bar))
    return found


def test_what_ablation_measured_is_drawn_with_its_sign() -> None:
    circuit = CIRCUITS["deep"]
    report = measured_report(circuit)
    found = bars(drawn(circuit, report=report, groups=made_groups(circuit)))
    assert len(found) > 5
    drops = []
    for title, bar in found:
        told = re.search(r"faithfulness loses (\S+)", title)
        assert told is not None
        drop = float(told[1])
        drops.append((abs(drop), float(bar.get("width", "nan"))))
        assert (bar.get("fill") == "#0072b2") == (drop >= 0)
        assert (bar.get("fill") == "#fff" and bar.get("stroke-dasharray") is not None) == (drop < 0)
    groups = {row["drop"] for row in report.groups or ()}
    assert {drop for drop, _ in drops} >= {abs(round(drop, 3)) for drop in groups}
    assert bars(drawn(circuit, groups=made_groups(circuit))) == []


def test_faithfulness_by_nodes_and_by_edges_is_drawn_on_one_scale() -> None:
    circuit = CIRCUITS["usual"]
    table = pd.DataFrame(
        [("corrupted", "nodes", 0.5, 0.25, 0.75), ("corrupted", "edges", 0.0, -0.5, 0.5)],
        columns=["baseline", "ablate", "faithfulness", "faithfulness_low", "faithfulness_high"],
    )
    picture = drawn(circuit, report=made_report(ablations=table))
    assert "\u25cf nodes 0.50 [0.25, 0.75]; \u25c7 edges 0.00 [\u22120.50, 0.50]" in words(picture)
    ends = [
        tuple(map(float, match.groups()))
        for path in picture.iter(f"{SVG}path")
        if (match := re.fullmatch(r"M(\S+) \S+L(\S+) \S+", path.get("d", "")))
    ]
    lines = {(a, b) for a, b in ends if b > a}
    # The scale runs from -0.5 to 1; thirds of it are half a unit.
    left, right = min(a for a, _ in lines if a > 150), max(b for _, b in lines)
    third = (right - left) / 3
    expected = {(left + 1.5 * third, left + 2.5 * third), (left, left + 2 * third)}
    for low, high in expected:
        assert any(abs(a - low) < 0.2 and abs(b - high) < 0.2 for a, b in lines), (low, high)


def test_wider_edges_are_stronger() -> None:
    picture = drawn(CIRCUITS["usual"])
    effects = CIRCUITS["usual"].edges.set_index(["source", "target"])["effect"].abs()
    pairs = [
        (effects[tuple(title_of(path).rpartition(": ")[0].split(" \u2192 "))], path)
        for path in picture.iter(f"{SVG}path")
        if title_of(path)
    ]
    pairs.sort(key=lambda pair: pair[0])
    widths = [float(path.get("stroke-width", "nan")) for _, path in pairs]
    assert widths == sorted(widths)
    assert widths[-1] == 6


@pytest.mark.parametrize("text", [HOSTILE, "\x00\x1b[31m", "\u202egnp", "", "\u4f60\u597d" * 30])
def test_foreign_text_stays_text(text: str) -> None:
    circuit = CIRCUITS["usual"]
    example = Example(clean=text, corrupted="x", answer=(text,), wrong=("y",))
    labels = made_labels(circuit, text=text)
    picture = drawn(circuit, labels=labels, title=text, example=example)
    assert not list(picture.iter("script")) and not list(picture.iter(f"{SVG}script"))
    raw = draw_figure(circuit, labels, None, title=text, example=example)
    assert "<script" not in raw and "\x1b" not in raw and "\u202e" not in raw


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=60), token=st.text(max_size=20), span=st.text(max_size=20))
def test_any_text_makes_a_well_formed_picture(text: str, token: str, span: str) -> None:
    circuit = made_circuit(n_units=2, n_layers=1, n_nodes=6, n_edges=6)
    circuit.nodes["token"] = token
    circuit.nodes["span"] = span
    picture = drawn(circuit, labels=made_labels(circuit, text=text), title=text)
    assert picture.get("role") == "img"


def test_readers_who_do_not_see_it_get_title_and_description() -> None:
    picture = drawn(CIRCUITS["usual"], title="pronoun in stories")
    ids = (picture.get("aria-labelledby") or "").split()
    by_id = {element.get("id"): element.text or "" for element in picture}
    assert by_id[ids[0]] == "pronoun in stories"
    strongest = CIRCUITS["usual"].nodes.query("kind in ['feature', 'error']")["node"].iloc[0]
    assert strongest in by_id[ids[1]]


def test_groups_and_what_they_are_worth_are_in_the_description() -> None:
    circuit = CIRCUITS["deep"]
    groups = made_groups(circuit)
    picture = drawn(circuit, groups=groups, report=measured_report(circuit))
    about = next(element.text or "" for element in picture if element.get("id") == "desc")
    effect = circuit.nodes.set_index("node")["effect"]
    strongest = max(groups, key=lambda group: abs(effect[list(group.nodes)].sum()))
    assert f"{strongest.name} (group of {len(strongest.nodes)})" in about
    assert "when it is ablated" in about and "group 0" not in about


def test_error_nodes_tokens_and_the_metric_have_shapes_of_their_own(found: Found) -> None:
    picture = drawn(found.circuit, labels=found.labels, report=found.report)
    groups = {
        title_of(group).partition(":")[0]: group
        for group in picture.iter(f"{SVG}g")
        if title_of(group)
    }
    for node, group in groups.items():
        is_error = ".error@" in node
        assert (group.find(f"{SVG}polygon") is not None) == is_error
        if not is_error:
            shape = group.find(f"{SVG}rect")
            assert shape is not None
            is_pill = shape.get("rx") == "15.5"
            assert is_pill == (node == "metric" or node.startswith("token@"))


def test_equal_inputs_give_equal_pictures() -> None:
    first, second = (
        draw_figure(made_circuit(seed=5), (), made_report(), title="t") for _ in range(2)
    )
    assert first == second


def test_nothing_is_fetched_and_nothing_runs() -> None:
    raw = draw_figure(CIRCUITS["usual"], (), made_report(), title="t")
    # Only in markup: a font's base64 may spell anything.
    markup = re.sub(r"url\(data:font/woff;base64,[A-Za-z0-9+/=]+\)", "", raw)
    assert "href" not in markup and "<script" not in markup and "url(" not in markup
    assert markup.count("http") == 1  # the name of SVG itself


@given(text=st.text(max_size=80), width=st.floats(20, 400))
def test_fitted_text_fits(text: str, width: float) -> None:
    cut = fitted(text, width, 10.0)
    assert text_width(cut, 10.0) <= max(width, 11)  # one character always stays
    assert cut == text or cut.endswith("\u2026") or len(cut) <= 1


@given(text=st.text(max_size=200))
def test_wrapped_text_keeps_its_words(text: str) -> None:
    lines = wrapped(text, 200.0, 10.0)
    assert all(text_width(line, 10.0) <= 200 for line in lines)
    if "\u2026" not in "".join(lines):
        assert " ".join(lines) == text
