"""The page: its data say what the tables say, and nothing in them ends a tag."""

import base64
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from saecircuits.circuits import Circuit, Routes
from saecircuits.edges.graph_scores import GraphScores
from saecircuits.features.dashboard_making import describe_features
from saecircuits.features.looks import looks_of_heads
from saecircuits.features.texts import Contexts, generate_text
from saecircuits.heads import scores
from saecircuits.publication.page_file import write_page
from saecircuits.publication.page_shape import PageData
from saecircuits.runs.records import CircuitRecord
from saecircuits.runs.stored import read_run
from saecircuits.runs.writing import write_circuit
from saecircuits.splicing.anatomy import take_apart
from tests.found import Found
from tests.made import (
    fitted,
    made_circuit,
    made_dashboards,
    made_labels,
    made_report,
    page_of,
)

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "saecircuits" / "publication" / "bundle"
FRONTEND = ROOT / "frontend"


def record_of(circuit: Circuit, folder: Path) -> CircuitRecord:
    folder.mkdir(parents=True, exist_ok=True)
    write_circuit(folder, circuit)
    return CircuitRecord.model_validate_json((folder / "circuit.json").read_bytes())


def made_page(folder: Path, *, text: str = "girl, woman | +She", **size: int) -> PageData:
    circuit = made_circuit(**size)
    return page_of(
        circuit,
        made_labels(circuit, text),
        made_report(),
        record=record_of(circuit, folder),
        title=f"A circuit {text}",
    )


def data_in(page: bytes) -> dict[str, Any]:
    block = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', page.decode(), re.DOTALL
    )
    assert block is not None
    return json.loads(block[1])


def test_tables_and_page_agree(out: Path) -> None:
    circuit = made_circuit(n_nodes=40, n_edges=80)
    record = record_of(circuit, out)
    page = page_of(circuit, (), None, record=record, title="made")
    nodes, edges, parts = (one.model_dump() for one in (page.nodes, page.edges, page.parts))
    ids = page.nodes.id
    assert ids == tuple(circuit.nodes["node"])
    assert nodes["effect"] == pytest.approx(circuit.nodes["effect"].tolist(), rel=1e-5)
    ends = zip(page.edges.source, page.edges.target, strict=True)
    assert [(ids[source], ids[target]) for source, target in ends] == list(
        zip(circuit.edges["source"], circuit.edges["target"], strict=True)
    )
    direct = [float("nan") if value is None else value for value in edges["direct"]]
    assert direct == pytest.approx(circuit.edges["direct"].tolist(), rel=1e-5, nan_ok=True)
    carried = [0.0] * len(edges["effect"])
    for edge, effect in zip(page.parts.edge, parts["effect"], strict=True):
        carried[edge] += effect or 0.0
    assert carried == pytest.approx(list(edges["effect"]), rel=1e-4)
    names = [page.parts.names[part] for part in page.parts.part]
    assert names == circuit.edge_parts["part"].tolist()
    assert dict(zip(page.parts.names, page.parts.degrees, strict=True)) == {
        "residual": 0, "L1.H0": 1
    }  # fmt: skip
    rows = [page.rows[row] for row in page.nodes.row]
    assert [row.site for row in rows] == circuit.nodes["site"].tolist()
    units = [page.units[unit].name for unit in page.nodes.unit]
    assert units == circuit.nodes["span"].tolist()
    assert page.circuit_digest == record.circuit_digest and page.tables == record.files


def test_fit_and_signs_of_the_dictionaries_are_on_the_page(out: Path) -> None:
    circuit = made_circuit(n_layers=3)
    plain = page_of(circuit, (), None, record=record_of(circuit, out), title="made")
    assert plain.fit == () and not any(row.has_signs for row in plain.rows)
    page = page_of(fitted(circuit), (), None, record=record_of(circuit, out), title="made")
    names = {row.site: row.name for row in page.rows}
    signed = [row.site for row in page.rows if row.has_signs]
    assert signed == fitted(circuit).provenance["signed"]
    first, second = page.fit
    assert (first.name, second.name) == tuple(
        names[fit["site"]] for fit in fitted(circuit).summary["fit"]
    )
    assert (first.variance_explained, first.l0, first.tokens) == (0.8125, 1021.25, 88)
    assert (first.stated_variance_explained, second.stated_variance_explained) == (0.875, None)


def test_contexts_keep_the_signs_of_activations(out: Path) -> None:
    circuit = made_circuit()
    (board, *_), labels = made_dashboards(circuit), made_labels(circuit)
    (group, *_) = board.examples_quantiles
    (shown,) = group.examples
    negative = shown.model_copy(
        update={"tokens_acts_list": tuple(-value for value in shown.tokens_acts_list)}
    )
    turned = board.model_copy(
        update={"examples_quantiles": (group.model_copy(update={"examples": (negative,)}),)}
    )
    pages = [
        page_of(
            circuit,
            labels,
            None,
            record=record_of(circuit, out),
            title="made",
            dashboards=(one,),
        )
        for one in (board, turned)
    ]
    found, opposite = (
        next(label.strengths for label in page.labels if label.strengths)[0].contexts[0].active
        for page in pages
    )
    assert found and opposite == tuple((place, -value) for place, value in found)


def test_the_model_is_taken_apart_once_for_all_heads(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def counted(*given: Any, **choices: Any) -> Any:
        taken.append(given)
        return take_apart(*given, **choices)

    monkeypatch.setattr(scores, "take_apart", counted)
    looks = looks_of_heads(found.model, found.task, found.circuit)
    assert len(looks) > 1 and len(taken) == 1
    length = int(found.task.train.clean_lengths[0])
    prompt = found.task.train.clean_tokens[0, :length].tolist()
    for look in looks:
        asked = scores.Question(query=look.query, against="uniform", top=len(look.pairs))
        alone = scores.scores_of_head(found.model, prompt, look.layer, look.head, asked)
        assert [pair.contrast for pair in look.pairs] == alone.pairs["contrast"].tolist()
    assert len(taken) == 1 + len(looks)


def test_rows_are_in_the_order_of_computation(out: Path) -> None:
    page = made_page(out, n_layers=3, n_nodes=60)
    assert page.rows[0].name == "tokens" and page.rows[-1].name == "metric"
    layers = [row.layer for row in page.rows]
    assert layers == sorted(layers)
    for source, target in zip(page.edges.source, page.edges.target, strict=True):
        assert page.nodes.row[source] < page.nodes.row[target]


def test_labels_belong_to_their_features(found: Found, out: Path) -> None:
    record = record_of(found.circuit, out)
    page = page_of(found.circuit, found.labels, found.report, record=record, title="toy")
    named = 0
    for feature, label, row in zip(
        page.nodes.feature, page.nodes.label, page.nodes.row, strict=True
    ):
        if label is not None:
            named += 1
            assert page.labels[label].feature == feature
            assert page.labels[label].site == page.rows[row].site
    assert named == (found.circuit.nodes["kind"] == "feature").sum() > 0


def test_dashboards_join_their_labels(out: Path) -> None:
    circuit = made_circuit()
    boards = made_dashboards(circuit)[1:]
    labels, record = made_labels(circuit), record_of(circuit, out)
    page = page_of(circuit, labels, None, dashboards=boards, record=record, title="made")
    assert [label.text for label in page.labels] == [label.text for label in labels]
    assert page.labels[0].histogram is None and page.labels[0].neighbours == ()
    for label, board in zip(page.labels[1:], boards, strict=True):
        assert (label.site, label.feature) == (board.transcoder_id, board.index)
        assert label.histogram == board.saecircuits.histogram
        assert label.neighbours == board.saecircuits.neighbours


def test_what_pruning_left(found: Found, out: Path) -> None:
    record = record_of(found.circuit, out)
    page = page_of(found.circuit, (), None, record=record, title="toy", graph=found.graph)
    members = found.graph.nodes[found.graph.nodes["kind"].isin(["feature", "error"])]
    kept = members[members["node"].isin(found.circuit.members)]
    share = kept["effect"].abs().sum() / members["effect"].abs().sum()
    assert page.pruning.node_share == pytest.approx(share, rel=1e-5)
    assert 0 < share < 1
    assert page.pruning.graph_edges == len(found.graph.edges) > page.pruning.edges
    without = page_of(found.circuit, (), None, record=record, title="toy").pruning
    assert (without.node_share, without.graph_edges, without.edge_share) == (None, None, None)


def test_the_graph_s_scores_are_on_the_page(found: Found, out: Path) -> None:
    page = page_of(found.circuit, (), None, record=record_of(found.circuit, out), title="toy")
    scores = GraphScores.of(found.graph.summary)
    assert page.scores is not None and scores is not None and scores.features_share is not None
    for name, value in scores:
        assert getattr(page.scores, name) == pytest.approx(value, rel=1e-5)
    # A run of a version that had none.
    older = {name: value for name, value in found.circuit.summary.items() if name != "scores"}
    circuit = dataclasses.replace(found.circuit, summary=older)
    record = record_of(circuit, out)
    assert page_of(circuit, (), None, record=record, title="toy").scores is None


def test_why_heads_look(found: Found) -> None:
    looks = looks_of_heads(found.model, found.task, found.circuit)
    assert looks
    assert [look.carries for look in looks] == sorted(
        (look.carries for look in looks), reverse=True
    )
    for look in looks:
        assert sum(key.pattern for key in look.keys) == pytest.approx(1.0, abs=1e-5)
        assert look.keys[look.key].pattern == max(key.pattern for key in look.keys)
        assert len(look.pairs) <= look.n_pairs and look.site in found.model.hooks
    bare = dataclasses.replace(found.circuit, edge_parts=found.circuit.edge_parts.head(0))
    assert looks_of_heads(found.model, found.task, bare) == ()


def test_a_published_run_has_its_page(found: Found, out: Path) -> None:
    from saecircuits.publication.publish import publish

    publish(found.circuit, found.report, out, graph=found.graph, model=found.model,
            task=found.task, labels=found.labels)  # fmt: skip
    data = data_in((out / "report.html").read_bytes())
    run = read_run(out)
    assert data["circuit_digest"] == run.record.circuit_digest
    assert data["nodes"]["id"] == run.circuit.nodes["node"].tolist()
    assert run.report is not None
    assert data["report"]["faithfulness"] == run.report.faithfulness
    assert data["task"]["example"]["clean"] == found.task.train.texts[0][0]
    assert data["looks"]
    assert "report.html" in (out / "README.md").read_text()


def test_paths_are_on_the_page(found: Found, out: Path) -> None:
    from saecircuits.circuits import paths

    routes: Routes = paths(found.graph, k=5)
    record = record_of(found.circuit, out)
    page = page_of(found.circuit, (), None, record=record, title="toy", routes=routes)
    assert page.paths is not None and page.paths.account == routes.account()
    assert [path.nodes for path in page.paths.paths] == routes.table["nodes"].tolist()
    assert [path.effect for path in page.paths.paths] == routes.table["effect"].tolist()


@pytest.mark.parametrize(
    "text", ["</script>", "<script>alert(1)</script>", "<!--", "\u202eabc", "\ud800", "\u2028 &lt;"]
)
def test_no_text_ends_its_block(text: str, out: Path) -> None:
    page = write_page(made_page(out, text=text))
    shown = page.decode()
    assert shown.count("<script") == shown.count("</script>") == 2
    found = data_in(page)["labels"][0]["text"]
    assert found == text.encode("utf-8", "replace").decode()


def test_the_policy_forbids_everything_but_this_code_and_style(out: Path) -> None:
    page = write_page(made_page(out)).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules["default-src"] == "'none'" and "unsafe" not in policy[1]
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert text is not None
        digest = base64.b64encode(hashlib.sha256(text[1].encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    # The policy stands before everything that it is about.
    assert page.index("Content-Security-Policy") < page.index("<style>") < page.index("<script")


def test_equal_data_give_equal_bytes(out: Path, tmp_path: Path) -> None:
    assert write_page(made_page(out)) == write_page(made_page(tmp_path / "again"))


def test_licences_of_what_is_bundled_are_there() -> None:
    licences = (BUNDLE / "LICENSES.txt").read_text()
    for package in ("d3-zoom", "d3-selection", "@dagrejs/dagre"):
        assert package in licences
    assert "Permission to use, copy" in licences and "Permission is hereby granted" in licences


@pytest.fixture
def node() -> str:
    """The program, where the page's own code can be built."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed: the committed bundle is used as it is")
    if not (FRONTEND / "node_modules").is_dir():
        pytest.skip("frontend/node_modules is not there: run `npm ci` in frontend/ to compare")
    return found


def test_the_types_of_the_page_are_those_of_its_data(node: str) -> None:
    paths = os.environ | {"PYTHONPATH": str(ROOT)}
    run = partial(subprocess.run, cwd=FRONTEND, check=True, timeout=120, stdout=subprocess.PIPE)
    schema = run([sys.executable, "schema.py"], env=paths).stdout
    assert (
        run([node, "types.mjs"], input=schema).stdout == (FRONTEND / "src/page.ts").read_bytes()
    ), "src/page.ts differs from what page_shape.py gives; run `npm run types` in frontend/"


def test_the_bundle_is_what_its_source_gives(node: str, tmp_path: Path) -> None:
    subprocess.run([node, "build.mjs", str(tmp_path)], cwd=FRONTEND, check=True, timeout=120)
    for name in ("report.js", "report.css", "LICENSES.txt"):
        assert (tmp_path / name).read_bytes() == (BUNDLE / name).read_bytes(), (
            f"{name} differs from what frontend/src gives; run `npm run build` in frontend/"
        )


def test_contexts_of_every_strength(found: Found, out: Path) -> None:
    text = Contexts(text=generate_text(found.model, n_tokens=400, seed=1), source="samples",
                    licence="none needed")  # fmt: skip
    labels, boards = describe_features(found.model, found.circuit, text)
    record = record_of(found.circuit, out)
    page = page_of(found.circuit, labels, None, dashboards=boards, record=record, title="toy")
    seen = 0
    for label, board in zip(page.labels, boards, strict=True):
        for group in label.strengths:
            seen += 1
            quarter = [1.0, 0.75, 0.5, 0.25].index(group.share_high)
            values = board.quantile_values[::-1]
            assert (group.high, group.low) == (values[quarter], values[quarter + 1])
            for context in group.contexts:
                active = dict(context.active)
                assert len(context.tokens) <= 11 and all(value > 0 for value in active.values())
                # The ends of quarters lie between activations.
                assert group.low * 0.95 <= active[context.peak] <= group.high * 1.05
    assert seen > 20
    hidden = dataclasses.replace(text, is_shown=False)
    _, bare = describe_features(found.model, found.circuit, hidden)
    page = page_of(found.circuit, labels, None, dashboards=bare, record=record, title="toy")
    assert all(label.strengths == () for label in page.labels)
