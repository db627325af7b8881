"""Dashboards say what brute force over the same text says, and follow the shared format."""

import dataclasses
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch

from saecircuits.errors import RunFolderError
from saecircuits.features import texts
from saecircuits.features.dashboard_making import describe_features, nearest_rows
from saecircuits.features.dashboards import Dashboard
from saecircuits.features.labels import TOO_FEW
from saecircuits.features.texts import Contexts, generate_text, no_contexts
from saecircuits.publication.publish import publish
from saecircuits.runs.feature_files import read_dashboards, write_dashboards
from saecircuits.runs.human_labels import add_label
from saecircuits.runs.records import read_record
from saecircuits.splicing import observe
from tests.found import Found
from tests.interchange.graphs import shared


@pytest.fixture(scope="module")
def contexts(found: Found) -> Contexts:
    text = generate_text(found.model, n_tokens=400, seed=1)
    return Contexts(text=text, source="samples", licence="none needed")


@pytest.fixture(scope="module")
def boards(found: Found, contexts: Contexts) -> tuple[Dashboard, ...]:
    return describe_features(found.model, found.circuit, contexts, prompts=found.task.train)[1]


def test_labels_are_those_of_label_features(found: Found, contexts: Contexts) -> None:
    labels, boards = describe_features(
        found.model, found.circuit, contexts, prompts=found.task.train
    )
    assert labels == found.labels
    assert [(b.saecircuits.site, b.saecircuits.feature) for b in boards] == [
        (label.site, label.feature) for label in labels
    ]
    assert [b.saecircuits.label for b in boards] == [label.text for label in labels]
    found_there = [b.saecircuits.active + b.saecircuits.in_task for b in boards]
    assert found_there == [label.examples for label in labels]


def test_figures_are_those_of_brute_force(
    found: Found, contexts: Contexts, boards: tuple[Dashboard, ...]
) -> None:
    run = observe(found.model, contexts.text)
    counted = contexts.text != 0
    counted[:, 0] = False
    for board in boards:
        own = board.saecircuits
        features = run.sites[found.model.index(own.site)].features
        acts = (features[..., own.feature] * counted).flatten().double().numpy()
        active = acts[acts > 0]
        assert own.active == len(active) == sum(own.histogram.counts)
        assert own.corpus.tokens == int(counted.sum())
        assert board.activation_frequency == pytest.approx(len(active) / own.corpus.tokens)
        if len(active):
            assert board.act_max == pytest.approx(active.max(), rel=1e-3)
            wanted = np.quantile(active, [0, 0.25, 0.5, 0.75, 1])
            assert board.quantile_values == pytest.approx(wanted, rel=1e-3)
            half = sum(own.histogram.counts[:10])
            assert half == pytest.approx((active < active.max() / 2).sum(), abs=1)


def test_contexts_lie_in_their_quarter(found: Found, boards: tuple[Dashboard, ...]) -> None:
    seen = set()
    bos = found.model.tokenizer.decode([found.model.tokenizer.bos_token_id])
    for board in boards:
        low, first, middle, third, high = board.quantile_values or (0,) * 5
        ends = {
            "Top": (low, high),
            "75% to 100%": (third, high),
            "50% to 75%": (middle, third),
            "25% to 50%": (first, middle),
            "0% to 25%": (low, first),
        }
        tokens = []
        for group in board.examples_quantiles:
            seen.add(group.quantile_name)
            assert group.examples
            for one in group.examples:
                assert len(one.tokens) == len(one.tokens_acts_list) <= 21
                peak = one.tokens_acts_list[one.train_token_ind]
                if group.quantile_name in ends:
                    least, most = ends[group.quantile_name]
                    # Quantiles are interpolated, and four digits are kept.
                    assert least * 0.9 <= peak <= most * 1.1
                    tokens.append(one.tokens)
        # BOS has a text of its own in the toy's vocabulary, and ends a context.
        assert not [one for one in tokens if bos in one]
        peaks = [
            one.tokens_acts_list[one.train_token_ind]
            for group in board.examples_quantiles
            if group.quantile_name == "Top"
            for one in group.examples
        ]
        assert peaks == sorted(peaks, reverse=True)
    assert {"Top", "75% to 100%", "Prompts of the task"} <= seen


def test_neighbours_are_the_largest_cosines() -> None:
    rows = torch.randn(17, 5, dtype=torch.float64)
    rows[3] = 0.0
    unit = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-300)
    found = list(nearest_rows(rows, [4, 11, 3], count=3))
    for feature, near in zip((4, 11), found[:2], strict=True):
        cosines = unit @ unit[feature]
        cosines[feature] = -2
        wanted = cosines.topk(3)
        assert [index for index, _ in near] == wanted.indices.tolist()
        assert [value for _, value in near] == pytest.approx(wanted.values.tolist(), rel=1e-9)
    assert all(value == 0 for _, value in found[2])


def test_files_follow_the_schema_and_come_back(
    boards: tuple[Dashboard, ...], tmp_path: Path
) -> None:
    write_dashboards(tmp_path, boards)
    assert {b.name for b in read_dashboards(tmp_path)} == {b.name for b in boards}
    assert sorted(read_dashboards(tmp_path), key=lambda b: b.name) == sorted(
        boards, key=lambda b: b.name
    )
    schema = json.loads(shared("feature-details-schema.json").read_text())
    for path in (tmp_path / "features").iterdir():
        jsonschema.validate(json.loads(path.read_text()), schema)


def test_dashboards_of_another_circuit_go(boards: tuple[Dashboard, ...], tmp_path: Path) -> None:
    write_dashboards(tmp_path, boards)
    write_dashboards(tmp_path, boards[:2])
    assert len(read_dashboards(tmp_path)) == 2
    write_dashboards(tmp_path, ())
    assert not (tmp_path / "features").exists()


def test_a_file_that_is_no_dashboard_is_refused(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "x.json").write_text("{}")
    with pytest.raises(RunFolderError, match="Field required"):
        read_dashboards(tmp_path)


def test_without_contexts_no_text_is_published(
    found: Found, contexts: Contexts, tmp_path: Path
) -> None:
    hidden = Contexts(contexts.text, "a book", "all rights reserved", is_shown=False)
    run = publish(
        found.circuit, None, tmp_path / "run", model=found.model, task=found.task, contexts=hidden
    )
    for board in read_dashboards(run):
        assert board.examples_quantiles == ()
        assert not board.saecircuits.corpus.is_shown
        assert board.saecircuits.corpus.licence == "all rights reserved"
        assert board.saecircuits.active >= 0 and len(board.histogram) == 20
    labels = json.loads((run / "features.json").read_text())["labels"]
    assert all(label["contexts"] == [] for label in labels)
    crate = (run / "ro-crate-metadata.json").read_text()
    assert "all rights reserved" in crate and "not shown" in crate


def test_a_rare_feature_says_so(found: Found) -> None:
    text = generate_text(found.model, n_tokens=3, seed=0)[:, :3]
    short = Contexts(text=text, source="samples", licence="none needed")
    for board in describe_features(found.model, found.circuit, short)[1]:
        assert board.saecircuits.too_few and board.saecircuits.label == "too few examples"
        assert board.saecircuits.active < 5


def test_people_name_features_in_dashboards_too(
    found: Found, boards: tuple[Dashboard, ...], tmp_path: Path
) -> None:
    run = publish(
        found.circuit, None, tmp_path / "run", model=found.model, task=found.task,
        labels=found.labels, dashboards=boards,
    )  # fmt: skip
    before = read_dashboards(run)
    own = before[3].saecircuits
    add_label(run, read_record(run), f"{own.site}.f{own.feature}", "verbs", author="A")
    after = read_dashboards(run)
    named = after[3].saecircuits
    assert (named.label, named.auto, named.label_author) == ("verbs", False, "A")
    assert named.auto_label == own.label
    assert after[:3] == before[:3] and after[4:] == before[4:]
    label = (run / "labels.jsonl").read_text()
    (run / "labels.jsonl").write_text(label.replace('"dictionary": "', '"dictionary": "0'))
    assert read_dashboards(run) == before


def test_a_dictionary_with_an_id_links_to_its_page(found: Found, contexts: Contexts) -> None:
    site = found.labels[0].site
    splices = tuple(
        dataclasses.replace(
            one, dictionary=dataclasses.replace(one.dictionary, neuronpedia_id="toy/0-res")
        )
        if one.site.hook == site
        else one
        for one in found.model.splices
    )
    model = dataclasses.replace(found.model, splices=splices)
    for board in describe_features(model, found.circuit, contexts)[1]:
        own = board.saecircuits
        wanted = f"https://neuronpedia.org/toy/0-res/{own.feature}" if own.site == site else None
        assert own.neuronpedia == wanted


def test_without_contexts_no_text_is_looked_at(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sampled(*given: object, **choices: object) -> None:
        raise AssertionError("text was sampled")

    monkeypatch.setattr(texts, "generate", sampled)
    labels, boards = describe_features(
        found.model, found.circuit, no_contexts(), prompts=found.task.train
    )
    assert len(labels) == len(boards) == len(found.labels)
    of_task = {
        found.model.tokenizer.decode([token])
        for tokens in (found.task.train.clean_tokens, found.task.train.corrupted_tokens)
        for token in tokens.flatten().tolist()
    }
    for label, board in zip(labels, boards, strict=True):
        assert (label.n_tokens, label.density, label.contexts) == (0, 0.0, ())
        assert {score.token for score in label.top_tokens} <= of_task
        assert board.examples_quantiles == ()
        assert board.saecircuits.corpus.tokens == 0
    # What the weights say stays, and so do labels where the prompts have examples enough.
    assert [label.promoted for label in labels] == [label.promoted for label in found.labels]
    assert any(label.text != TOO_FEW for label in labels)
    alone, _ = describe_features(found.model, found.circuit, no_contexts())
    assert all(label.text == TOO_FEW and not label.top_tokens for label in alone)


def test_hidden_text_gives_figures_and_no_words(found: Found, contexts: Contexts) -> None:
    hidden = dataclasses.replace(contexts, is_shown=False)
    labels, boards = describe_features(found.model, found.circuit, hidden)
    shown, _ = describe_features(found.model, found.circuit, contexts)
    for label, board, other in zip(labels, boards, shown, strict=True):
        assert (label.density, label.examples) == (other.density, other.examples)
        assert label.contexts == () and label.top_tokens == () and board.examples_quantiles == ()
        # What is left of a label is what the weights promote.
        assert label.text == TOO_FEW or label.text.startswith("+")
