"""Every stage comes back from disk as it was, and what does not belong together is refused."""

import json
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given, settings

from saecircuits.circuits import prune
from saecircuits.errors import InputError, RunFolderError
from saecircuits.runs.feature_files import read_labels, write_labels
from saecircuits.runs.opening import open_folder
from saecircuits.runs.records import read_record
from saecircuits.runs.storage import to_json
from saecircuits.runs.stored import read_circuit, read_graph, read_report, read_run
from saecircuits.runs.writing import write_circuit, write_graph, write_report
from saecircuits.validation import ValidationReport, calibrate
from tests.found import Found
from tests.made import made_circuit, made_labels, made_report

TABLES = ("nodes.parquet", "edges.parquet", "edge_parts.parquet")
FILES = ("circuit.json", *TABLES, "validation.json", "features.json")


@pytest.fixture
def run(found: Found, out: Path) -> Path:
    """A folder with all data of a run."""
    open_folder(out)
    write_circuit(out, found.circuit, graph=found.graph)
    write_report(out, found.report)
    write_labels(out, found.labels)
    return out


def assert_equal_reports(first: ValidationReport, second: ValidationReport) -> None:
    tables = ("curve", "ablations")
    for name in tables:
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            pd.testing.assert_frame_equal(one, other, check_exact=True)
    for name in ValidationReport.model_fields:
        one, other = getattr(first, name), getattr(second, name)
        if name not in tables and not (one != one and other != other):  # NaN is itself here
            assert one == other, name


def test_graph_round_trip(found: Found, out: Path) -> None:
    write_graph(open_folder(out), found.graph)
    back = read_graph(out)
    pd.testing.assert_frame_equal(back.nodes, found.graph.nodes, check_exact=True)
    pd.testing.assert_frame_equal(back.edges, found.graph.edges, check_exact=True)
    pd.testing.assert_frame_equal(back.edge_parts, found.graph.edge_parts, check_exact=True)
    assert len(back.edge_parts) > len(back.edges)
    assert back.nodes["left_out"].notna().any()
    assert back.settings == found.graph.settings
    assert back.summary == found.graph.summary
    assert back.provenance == found.graph.provenance
    assert back.experiment is None


def test_a_graph_that_was_read_can_be_pruned_alike(found: Found, run: Path) -> None:
    again = prune(read_graph(run), nodes=40, edges=100)
    pd.testing.assert_frame_equal(again.nodes, found.circuit.nodes, check_exact=True)
    pd.testing.assert_frame_equal(again.edge_parts, found.circuit.edge_parts, check_exact=True)
    assert again.members == found.circuit.members


@pytest.mark.parametrize("has_graph", [True, False])
def test_circuit_round_trip(found: Found, out: Path, has_graph: bool) -> None:
    open_folder(out)
    write_circuit(out, found.circuit, graph=found.graph if has_graph else None)
    back = read_circuit(out)
    pd.testing.assert_frame_equal(back.nodes, found.circuit.nodes, check_exact=True)
    pd.testing.assert_frame_equal(back.edges, found.circuit.edges, check_exact=True)
    pd.testing.assert_frame_equal(back.edge_parts, found.circuit.edge_parts, check_exact=True)
    assert tuple(back.candidates) == tuple(found.circuit.candidates)
    assert back.selection == found.circuit.selection
    assert back.settings == found.circuit.settings
    assert back.summary == found.circuit.summary
    assert len(read_graph(out).nodes) == len((found.graph if has_graph else found.circuit).nodes)


def test_the_record_counts_what_is_there(found: Found, run: Path) -> None:
    record = read_record(run)
    assert record.counts.nodes == len(found.graph.nodes)
    assert record.counts.edges == len(found.graph.edges)
    assert record.counts.members == 40
    assert record.counts.errors == found.circuit.n_errors
    assert record.counts.circuit_edges == 100
    assert (record.dtype, record.seed) == ("float64", 0)
    assert record.candidates is None  # they are the table's own


def test_report_round_trip(found: Found, run: Path) -> None:
    assert_equal_reports(read_report(run), found.report)


def test_a_calibrated_report_round_trip(found: Found, run: Path) -> None:
    measured = calibrate(found.model, found.graph, found.task.train, n_nodes=6, n_edges=4)
    report = found.report.model_copy(update={"calibration": measured})
    write_report(run, report)
    assert_equal_reports(read_report(run), report)


NUMBER = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=30, deadline=None)
@given(number=NUMBER, share=st.none() | NUMBER, values=st.lists(NUMBER))
def test_any_report_round_trip(
    tmp_path_factory: pytest.TempPathFactory, number: float, share: float | None, values: list
) -> None:
    out = tmp_path_factory.mktemp("run")
    nothing = {"count": 0, "median": None, "low": None, "high": None, "values": values}
    report = made_report(
        faithfulness=number,
        error_share=share,
        random=nothing,
        faithfulness_low=float("nan"),
        faithfulness_high=float("nan"),
    )
    write_circuit(out, made_circuit(n_nodes=3, n_edges=2))
    write_report(out, report)
    assert_equal_reports(read_report(out), report)


def test_validation_json_has_the_reports_keys(found: Found, run: Path) -> None:
    stored = json.loads((run / "validation.json").read_text())
    assert set(stored) == set(ValidationReport.model_fields) | {"format", "circuit_digest"}


def test_labels_round_trip(found: Found, run: Path) -> None:
    assert read_labels(run) == found.labels


def test_equal_inputs_give_equal_bytes(found: Found, run: Path, tmp_path: Path) -> None:
    other = open_folder(tmp_path / "other")
    write_graph(other, found.graph)  # an earlier stage leaves no trace
    write_circuit(other, found.circuit, graph=found.graph)
    write_report(other, found.report)
    write_labels(other, found.labels)
    for name in FILES:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name


def test_numbers_that_do_not_exist_are_null(out: Path) -> None:
    circuit = made_circuit()
    write_circuit(open_folder(out), replace(circuit, summary={"gap": float("nan")}))
    assert json.loads((out / "circuit.json").read_text())["summary"] == {"gap": None}


def test_a_circuit_of_another_graph_is_refused(found: Found, out: Path) -> None:
    open_folder(out)
    with pytest.raises(InputError, match="29 rows that the graph has not"):
        write_circuit(
            out,
            made_circuit(n_units=1, n_nodes=28, n_edges=0),
            graph=found.graph,
        )
    assert not list(out.iterdir())


def test_without_a_circuit_there_is_none_to_read(found: Found, out: Path) -> None:
    write_graph(open_folder(out), found.graph)
    with pytest.raises(RunFolderError, match="holds a graph but no circuit yet"):
        read_circuit(out)
    with pytest.raises(RunFolderError, match="no circuit yet; write the circuit before"):
        write_report(out, found.report)


def test_a_report_on_another_circuit_goes_with_its_circuit(found: Found, run: Path) -> None:
    write_circuit(run, prune(found.graph, nodes=7), graph=found.graph)
    assert not (run / "validation.json").exists()
    assert read_run(run).report is None


def test_a_report_put_beside_another_circuit_is_refused(found: Found, run: Path) -> None:
    stored = (run / "validation.json").read_bytes()
    write_circuit(run, prune(found.graph, nodes=7), graph=found.graph)
    (run / "validation.json").write_bytes(stored)
    with pytest.raises(RunFolderError, match="is about another circuit"):
        read_report(run)


def test_a_run_of_an_earlier_version_says_what_it_lacks(run: Path) -> None:
    (run / "edge_parts.parquet").unlink()
    record = json.loads((run / "circuit.json").read_text())
    del record["files"]["edge_parts.parquet"]
    (run / "circuit.json").write_bytes(to_json(record))
    for read in (read_run, read_graph, read_circuit):
        with pytest.raises(
            RunFolderError, match=r"no edge_parts\.parquet: an earlier version wrote it; write the"
        ):
            read(run)


def test_a_run_from_before_thresholds_were_crossed_had_them_held(run: Path) -> None:
    assert read_circuit(run).settings.thresholds == "crossed"
    record = json.loads((run / "circuit.json").read_text(encoding="utf-8"))
    del record["settings"]["thresholds"]
    (run / "circuit.json").write_text(json.dumps(record), encoding="utf-8")
    assert read_circuit(run).settings.thresholds == "held"


def test_a_table_of_another_stage_is_refused(found: Found, run: Path, tmp_path: Path) -> None:
    other = open_folder(tmp_path / "other")
    write_circuit(other, prune(found.graph, nodes=7), graph=found.graph)
    (run / "nodes.parquet").write_bytes((other / "nodes.parquet").read_bytes())
    with pytest.raises(RunFolderError, match=r"nodes\.parquet is not the table that circuit\.json"):
        read_circuit(run)


@pytest.mark.parametrize("name", FILES)
def test_half_a_file_is_refused(run: Path, name: str) -> None:
    data = (run / name).read_bytes()
    (run / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(RunFolderError, match=name.replace(".", r"\.")) as caught:
        read_run(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["circuit.json", *TABLES])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(RunFolderError, match=f"has no {name}"):
        read_run(run)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("circuit.json", {"sede": 1}, "sede: Extra inputs are not permitted"),
        ("circuit.json", {"settings": {"positions": "magic"}}, "unknown positions 'magic'"),
        ("circuit.json", {"format": "other/1"}, "format: "),
        ("circuit.json", {"files": {"nodes.parquet": "zz"}}, r"files\.nodes\.parquet: "),
        ("circuit.json", {"counts": {}}, r"counts\.nodes: Field required"),
        ("validation.json", {"faithfulness": "high"}, "faithfulness: "),
        ("validation.json", {"prompts": -1}, "prompts: "),
        ("features.json", {"labels": [{}]}, r"labels\.0\."),
    ],
)
def test_foreign_content_is_refused_by_its_key(
    run: Path, name: str, change: dict, message: str
) -> None:
    path = run / name
    path.write_bytes(to_json({**json.loads(path.read_text()), **change}))
    with pytest.raises(RunFolderError, match=message) as caught:
        read_run(run)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_read_only_folder_is_one_line(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_folder(out)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(RunFolderError, match=r"cannot write nodes\.parquet .*Permission denied"):
        write_circuit(out, made_circuit())


def test_labels_of_any_text_come_back(out: Path) -> None:
    labels = made_labels(made_circuit(), text="\x00 \u2028 \U0001f600 |</script>")
    write_labels(open_folder(out), labels)
    assert read_labels(out) == labels
