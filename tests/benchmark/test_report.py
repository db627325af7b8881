"""One small benchmark, run for real in processes of its own, and everything made of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from saecircuits.benchmark import jobs
from saecircuits.benchmark.bars import agreement, bars, slope, straight
from saecircuits.benchmark.jobs import Job, carry_out
from saecircuits.benchmark.page import FIGURES, PAGE, write
from saecircuits.benchmark.report import sheets, to_json
from saecircuits.benchmark.results import Benchmark, CurvePoint
from saecircuits.benchmark.running import gather, run_jobs
from saecircuits.errors import RunFolderError, SaecircuitsError
from tests.benchmark.sizes import TINY

# The bars are on a size of this name.
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
        patch.setattr(jobs, "product_rate", lambda *shape: 1e9)
        results = [(job, carry_out(job)) for job in JOBS]
    return gather(results, command="saecircuits bench --out docs")


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
    assert agreement(found, found.edges[0]) is None
    assert all((agreement(found, one) or 0.0) < 1e-4 for one in found.edges[1:])


def test_every_bar_has_a_verdict(found: Benchmark) -> None:
    verdicts = bars(found)
    assert len(verdicts) == 4 + 2 + 1 + 1 + 1
    without = [bar for bar in verdicts if bar.is_met is None]
    assert [bar.wanted for bar in without] == [""]


def test_figures_are_json(found: Benchmark) -> None:
    value = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert set(value) == {
        "machine", "command", "nodes", "edges", "parts", "ablations", "curves", "slopes", "bars",
    }  # fmt: skip
    assert set(value["edges"][0]) >= {
        "size", "engine", "threads", "edges", "cpu_seconds", "peak_bytes", "measured_share",
        "edges_per_second", "share_of_rate", "difference_from_factorised",
    }  # fmt: skip
    assert value["machine"]["cores"] >= 1


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
    assert "saecircuits bench --out docs" in page
    assert "91.4%, scaled" in page
    assert "![Time over targets](performance-targets.svg)" in page
    assert (tmp_path / "docs" / "performance-targets.svg").is_file()
    figures = json.loads((tmp_path / "docs" / FIGURES).read_text(encoding="utf-8"))
    assert figures["command"] == found.command


def test_a_folder_that_is_a_file_is_refused(found: Benchmark, tmp_path: Path) -> None:
    (tmp_path / "docs").write_text("", encoding="utf-8")
    with pytest.raises(RunFolderError, match="give another --out"):
        write(found, tmp_path / "docs")


def test_the_slope_of_a_power_is_the_power() -> None:
    points = [CurvePoint("layers", n, 1, 1, 0.3 * n**1.5, 1.0) for n in (2, 4, 6, 12)]
    assert slope(points) == pytest.approx(1.5)


def test_the_straight_line_has_a_part_spent_once() -> None:
    points = [CurvePoint("layers", n, 1, 1, 0.5 + 0.25 * n, 1.0) for n in (1, 3, 5, 11)]
    assert straight(points) == pytest.approx((0.5, 0.25))


def test_jobs_survive_the_command_line() -> None:
    for job in (*JOBS, Job("edges", None, 2, limit=4)):
        assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_a_job_runs_in_a_process_of_its_own() -> None:
    stages: list[str] = []
    found = run_jobs(
        [Job("edges", TINY, 1)], command="", progress=lambda stage, share: stages.append(stage)
    )
    assert found.edges[0].edges == TINY.n_edges
    assert stages == ["tiny: factorised", "done"]


def test_a_job_that_fails_says_why() -> None:
    with pytest.raises(SaecircuitsError, match=r"measuring edges of tiny .*'no such'"):
        run_jobs([Job("edges", TINY, 1, engine="no such")], command="")
