"""`degrees.json`: the metric of the task by degree, in figures that add up."""

from pathlib import Path

import pytest

from saecircuits.errors import RunFolderError
from saecircuits.expansion import metric_degrees
from saecircuits.publication.page_file import read_page
from saecircuits.publication.publish import publish
from saecircuits.runs import degrees as module
from saecircuits.runs.degrees import degrees_of, read_degrees, write_degrees
from saecircuits.runs.records import read_record
from saecircuits.splicing.anatomy import NotCoveredError
from tests.found import Found


def test_means_over_prompts_add_up(found: Found) -> None:
    degrees = degrees_of(found.model, found.task)
    assert degrees is not None
    own = metric_degrees(found.model, found.task.train)
    assert [row.effect for row in degrees.degrees] == pytest.approx(
        own.terms.mean(0).tolist(), rel=1e-5, abs=1e-9
    )
    total = sum(row.effect for row in degrees.degrees) + degrees.constant
    assert total == pytest.approx(degrees.value, abs=1e-5)
    assert degrees.value == pytest.approx(found.graph.summary["metric_clean"], rel=1e-5)
    assert sum(row.share for row in degrees.degrees) == pytest.approx(1, rel=1e-5)
    for row in degrees.degrees[1:]:
        assert row.effect_low is not None and row.effect_high is not None
        assert row.effect_low < row.effect < row.effect_high
    assert degrees.prompts == len(found.task.train)
    assert degrees.prompts_digest == found.task.train.digest


def test_a_run_has_them_in_its_folder_and_on_its_page(found: Found, out: Path) -> None:
    publish(found.circuit, found.report, out, graph=found.graph, model=found.model,
            task=found.task, labels=found.labels)  # fmt: skip
    assert read_degrees(out) == degrees_of(found.model, found.task)
    assert read_page(out / "report.html").degrees == read_degrees(out)
    assert read_degrees(out).prompts_digest == read_record(out).prompts  # type: ignore[union-attr]
    write_degrees(out, None)
    assert read_degrees(out) is None
    (out / "degrees.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"degrees\.json"):
        read_degrees(out)


def test_a_model_that_is_not_covered_has_none(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NotCoveredError("a part that is not known")

    monkeypatch.setattr(module, "metric_degrees", refuse)
    assert degrees_of(found.model, found.task) is None
