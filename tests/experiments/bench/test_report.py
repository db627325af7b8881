"""One small benchmark, and everything made of it; one job in a process of its own."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.bench import carrying
from experiments.bench.carrying import carry_out, carry_out_elsewhere
from experiments.bench.jobs import Job
from experiments.bench.measuring import this_machine
from experiments.bench.page import FIGURES, PAGE, page, write
from experiments.bench.results import Benchmark, CurvePoint, EdgeResult, gathered, slope, straight
from experiments.bench.run import main
from experiments.bench.tables import sheets
from experiments.bench.wanted import wishes
from tests.experiments.bench.sizes import TINY

DOCS = Path(__file__).resolve().parents[3] / "docs"
# The wishes are for a size of this name.
SMALL = replace(TINY, name="gpt2-small")
JOBS = (
    Job("nodes", SMALL, 1),
    Job("edges", SMALL, 1),
    Job("edges", SMALL, 1, engine="batched-vjp"),
    Job("edges", SMALL, 1, engine="single-vjp"),
    Job("parts", SMALL, 1),
    Job("ablation", SMALL, 1),
    Job("curve", SMALL, 1, curve="targets", counts=(3, 9, None)),
)


@pytest.fixture(scope="module")
def found() -> Benchmark:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carrying, "product_rate", lambda *shape: 1e9)
        results = [result for job in JOBS for result in carry_out(job)]
    return gathered(this_machine(), "python -m experiments.bench.run --out docs", results)


def test_every_job_has_its_results(found: Benchmark) -> None:
    assert [one.baseline for one in found.nodes] == ["zero", "corrupted"]
    assert [one.engine for one in found.edges] == ["factorised", "batched-vjp", "single-vjp"]
    assert all(one.edges == SMALL.n_edges for one in found.edges)
    assert [one.measured_share for one in found.edges][:2] == [1.0, 1.0]
    assert found.edges[2].measured_share == 64 / 70
    (ablation,) = found.ablations
    assert ablation.nodes == 126 and ablation.edges > 1000  # all nodes that there are
    assert ablation.passes == ablation.cpu_seconds / ablation.forward_seconds > 1
    assert [point.at for point in found.curves] == [6, 18, 70]
    differences = [one.difference_from_factorised for one in found.edges]
    assert differences[0] is None
    assert all(apart is not None and apart < 1e-4 for apart in differences[1:])


def test_every_wish_has_a_verdict(found: Benchmark) -> None:
    verdicts = wishes(found)
    assert len(verdicts) == 4 + 2 + 1 + 1 + 1
    without = [wish for wish in verdicts if wish.is_met is None]
    assert [wish.wanted for wish in without] == [""]


def test_figures_are_read_back(found: Benchmark, tmp_path: Path) -> None:
    write(found, tmp_path)
    value = json.loads((tmp_path / FIGURES).read_text(encoding="utf-8"))
    assert set(value) == {
        "machine", "command", "nodes", "edges", "parts", "ablations", "distant", "curves", "slopes",
        "wanted",
    }  # fmt: skip
    assert set(value["edges"][0]) >= {
        "size", "engine", "threads", "edges", "cpu_seconds", "peak_bytes", "measured_share",
        "edges_per_second", "share_of_rate", "difference_from_factorised",
    }  # fmt: skip
    again = Benchmark.from_json(value)
    assert again == replace(found, edges=tuple(replace(e, totals={}) for e in found.edges))
    assert page(again) == page(found)


def test_differences_are_relative_to_the_largest_sum() -> None:
    def of(engine: str, totals: dict[str, float], threads: int = 1) -> EdgeResult:
        return EdgeResult("tiny", engine, threads, 1, 1, 1.0, 1.0, 1.0, 1, 1, 1.0, totals)

    ours = of("factorised", {"a": 4.0, "b": 1.0, "c": 3.0})
    theirs = of("single-vjp", {"a": 4.0, "b": 1.5})
    alone = of("single-vjp", {"a": 4.0}, threads=2)
    found = gathered(this_machine(), "", [ours, theirs, alone]).edges
    assert [one.difference_from_factorised for one in found] == [None, 0.5 / 4.0, None]


def test_tables_are_rectangular(found: Benchmark) -> None:
    made = sheets(found)
    assert [sheet.title for sheet in made] == [
        "Edges", "Work behind the edges", "Nodes", "Parts of every edge", "Edge ablation",
        "Growth", "What was wanted",
    ]  # fmt: skip
    for sheet in made:
        assert all(len(row) == len(sheet.header) for row in sheet.rows)


def test_the_page_names_the_machine_and_the_command(found: Benchmark, tmp_path: Path) -> None:
    write(found, tmp_path / "docs")
    page = (tmp_path / "docs" / PAGE).read_text(encoding="utf-8")
    assert found.machine.cpu in page
    assert "experiments.bench.run --out docs" in page
    assert "91.4%, scaled" in page
    assert "![Time over targets](performance-targets.svg)" in page
    assert (tmp_path / "docs" / "performance-targets.svg").is_file()
    figures = json.loads((tmp_path / "docs" / FIGURES).read_text(encoding="utf-8"))
    assert figures["command"] == found.command


def test_the_page_in_docs_is_what_its_figures_give(tmp_path: Path) -> None:
    main(["--redraw", str(DOCS / FIGURES), "--out", str(tmp_path)])
    assert (tmp_path / PAGE).read_text("utf-8") == (DOCS / PAGE).read_text("utf-8")
    read = [
        Benchmark.from_json(json.loads((folder / FIGURES).read_text("utf-8")))
        for folder in (tmp_path, DOCS)
    ]
    assert read[0] == read[1]
    drawn = {path.name for path in tmp_path.glob("*.svg")}
    assert drawn == {path.name for path in DOCS.glob("performance-*.svg")}


def test_the_slope_of_a_power_is_the_power() -> None:
    points = [CurvePoint("layers", n, 1, 1, 0.3 * n**1.5, 1.0) for n in (2, 4, 6, 12)]
    assert slope(points) == pytest.approx(1.5)


def test_the_straight_line_has_a_part_spent_once() -> None:
    points = [CurvePoint("layers", n, 1, 1, 0.5 + 0.25 * n, 1.0) for n in (1, 3, 5, 11)]
    assert straight(points) == pytest.approx((0.5, 0.25))


def test_a_job_runs_in_a_process_of_its_own() -> None:
    (found,) = carry_out_elsewhere(Job("edges", TINY, 1))
    assert isinstance(found, EdgeResult)
    assert found.edges == TINY.n_edges
    assert found.totals


def test_a_job_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"measuring no such of tiny .*KeyError: 'no such'"):
        carry_out_elsewhere(Job("edges", TINY, 1, engine="no such"))
