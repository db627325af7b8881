"""The card says what was asked, what was found and what it does not show, in sound Markdown."""

import re
from dataclasses import replace

import pytest

from saecircuits.circuits import Circuit
from saecircuits.errors import InputError
from saecircuits.features.dashboards import CorpusRecord
from saecircuits.publication.card import write_card
from saecircuits.publication.contents import Contents
from saecircuits.publication.limits import limit_points
from saecircuits.publication.markdown import code, literal, table
from saecircuits.runs.opening import open_folder
from saecircuits.runs.phrases import SCORES_NOTE
from saecircuits.runs.records import Example, TaskRecord, read_record
from saecircuits.runs.writing import write_circuit
from tests.made import (
    DIGEST,
    SCORES,
    fitted,
    made_circuit,
    made_dashboards,
    made_labels,
    made_report,
)

TASK = TaskRecord(
    name="pronoun",
    description="A girl is She and a boy He.",
    digest=DIGEST,
    train=120,
    test=120,
    example=Example(clean="A girl", corrupted="A boy", answer=(" She",), wrong=(" He",)),
)
CIRCUIT = made_circuit()
AGREEMENT = {
    "sample": 40,
    "pearson": 0.9375,
    "spearman": 0.875,
    "spearman_low": 0.75,
    "spearman_high": 0.9375,
    "sign_agreement": 0.975,
}


@pytest.fixture
def card_of(out):
    """Writes the card of a made circuit."""

    def write(
        *,
        circuit=CIRCUIT,
        report=None,
        labels=(),
        task=TASK,
        command="saecircuits discover pronoun",
        **others,
    ) -> str:
        write_circuit(open_folder(out, overwrite=True), circuit, task=task, command=command)
        contents = Contents(circuit, read_record(out), report=report, labels=labels, **others)
        return write_card(contents, title="A circuit")

    return write


def test_features_with_signs_are_told(card_of) -> None:
    (site,) = fitted(CIRCUIT).provenance["signed"]
    assert f"Features of `{site}` have signs" in card_of(circuit=fitted(CIRCUIT))


def test_the_figures_are_those_of_the_report(card_of) -> None:
    card = card_of(report=made_report(calibration={"nodes": AGREEMENT, "edges": AGREEMENT}))
    for line in (
        "| Faithfulness: this circuit alone | 0.875 [0.75, 0.94] |",
        "| ... with its error nodes at baseline too | 0.500 |",
        "| Share of its faithfulness that goes with its error nodes | 0.438 |",
        "| All features, all error nodes at baseline | 0.625 |",
        "| Completeness: everything but this circuit | 0.125 |",
        "| 2 random circuits of the same size and layers (median) | 0.000 |",
        "| nodes | 40 | 0.938 | 0.875 [0.75, 0.94] | 98% |",
    ):
        assert line in card
    assert "On 24 held-out prompts" in card


def test_the_sign_of_nodes_and_edges_is_told(card_of) -> None:
    nodes = CIRCUIT.nodes.assign(sign_stability=0.625)
    edges = CIRCUIT.edges.assign(sign_stability=float("nan"))
    card = card_of(circuit=replace(CIRCUIT, nodes=nodes, edges=edges))
    assert "| node | token | label | effect (logits) | 95% interval | sign held |" in card
    of_nodes, of_edges = card.split("### Strongest edges")
    assert of_nodes.count("| 62% |") > 1  # Python rounds half to even
    assert "| sign held |" in of_edges and "% |" not in of_edges.split("## How sure")[0]


def test_it_can_be_repeated_from_what_it_says(card_of) -> None:
    card = card_of(report=made_report())
    assert "saecircuits discover pronoun" in card
    assert "task = sc.load_task('pronoun', model, limit=120)" in card
    assert "circuit = sc.prune(graph, nodes=30)" in card
    assert "estimator=" in card and "linearization='full'" in card
    assert DIGEST in card
    python = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert python is not None
    compile(python[1], "card", "exec")


def test_what_was_asked_is_shown_with_an_example(card_of) -> None:
    card = card_of(report=made_report())
    assert "task **pronoun**: A girl is She and a boy He." in card
    assert "\u201cA girl\u201d \u2192 \u201c She\u201d; corrupted: \u201cA boy\u201d" in card
    assert "](figure.svg)" in card


def test_without_validation_task_and_labels_it_says_so(card_of) -> None:
    card = card_of(task=None, command=None)
    assert "It was **not validated**" in card
    assert "without a named task" in card
    assert "Faithfulness: this" not in card
    assert "Labels are automatic" not in card
    assert "| licence of this run | not stated |" in card
    assert "```sh" not in card


def test_edges_say_what_they_go_through(card_of) -> None:
    # Three quarters of every edge through the stream; of the head's quarter, all but cancelling
    # values and keys.
    card = card_of()
    assert "| from | to | through | effect (logits) | 95% interval |" in card
    found = card.split("### Strongest edges")[1].split("## How sure")[0]
    phrase = "| `residual` 75%, `L1.H0` 25% (value 50%, key \u221225%) |"
    assert found.count(phrase) == 15
    assert "`edge_parts.parquet`: how much" in card


def test_without_parts_there_is_no_such_column(card_of) -> None:
    card = card_of(circuit=replace(CIRCUIT, edge_parts=CIRCUIT.edge_parts.head(0)))
    assert "| from | to | effect (logits) | 95% interval |" in card
    assert "hrough\u201d" not in card


@pytest.mark.parametrize(
    ("settings", "computed", "said"),
    [
        ({}, 5000, ""),
        ({"max_edges": 5000}, 5000, ""),
        ({"target_threshold": 0.25}, 5000, "under 0.25 logits were not computed"),
        (
            {"max_edges": 1200},
            5000,
            "Of 5,000 edges the strongest 1,200 were kept, which carry 98.8%",
        ),
    ],
)
def test_what_edges_leave_out_is_said(card_of, settings: dict, computed: int, said: str) -> None:
    card = card_of(
        circuit=replace(
            CIRCUIT,
            settings=CIRCUIT.settings.model_copy(update=settings),
            summary={
                **CIRCUIT.summary,
                "edges_computed": computed,
                "edges_kept_share_of_effect": 0.9876,
            },
        )
    )
    assert said in card
    assert ("not computed" in card) == ("not computed" in said)
    assert ("were kept" in card) == ("were kept" in said)


@pytest.mark.parametrize(
    "text", ["a | b", "<b>bold</b>", "`tick`", "line\nbreak", "*star* _under_", "[link](x)", "\x00"]
)
def test_foreign_text_breaks_no_table(card_of, text: str) -> None:
    card = card_of(report=made_report(), labels=made_labels(made_circuit(), text=text))
    tables = re.findall(r"(?:^\|.*\|$\n?)+", card, re.MULTILINE)
    assert len(tables) == 4  # figures, nodes, edges, sources
    for found in tables:
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in found.strip().splitlines()}
        assert len(bars) == 1
    assert "<b>" not in card and "\x00" not in card


def test_literal_text_has_no_markup_left() -> None:
    assert literal("a|b*c_d`<i>") == "a\\|b\\*c\\_d\\`&lt;i&gt;"
    assert code("a`b|c") == "`a\u02cbb\u00a6c`"


def test_texts_licences_and_authors_are_named(card_of) -> None:
    strongest = CIRCUIT.nodes.query("kind == 'feature'").iloc[0]
    written = {"text": "verbs", "auto": False, "author": "Ada", "date": "2024-01-02"}
    labels = [
        one.model_copy(update=written)
        if (one.site, one.feature) == (strongest["site"], strongest["feature"])
        else one
        for one in made_labels(CIRCUIT)
    ]
    corpus = CorpusRecord(source="a book", licence="CC|0", tokens=4096, is_shown=False)
    board = made_dashboards(CIRCUIT)[0]
    own = board.saecircuits.model_copy(update={"corpus": corpus})
    boards = [board.model_copy(update={"saecircuits": own})]
    card = card_of(labels=labels, dashboards=boards, licence="CC BY 4.0")
    assert "verbs (Ada)" in card
    assert "| a book, 4,096 tokens; its words are not shown |" in card
    assert "| licence of that text | CC\\|0 |" in card
    assert "| licence of this run | CC BY 4.0 |" in card


def test_a_share_that_is_not_defined_is_called_so(card_of) -> None:
    card = card_of(report=made_report(error_share=None))
    assert "| Share of its faithfulness that goes with its error nodes | not defined |" in card


def test_the_graph_s_scores_stand_beside_the_share_of_error_nodes(card_of) -> None:
    def scored(scores: object) -> Circuit:
        return replace(CIRCUIT, summary={**CIRCUIT.summary, "scores": scores})

    rows = (
        "| Replacement score (of influence) | 0.562 [0.50, 0.62] |\n"
        "| Completeness score (of inputs) | 0.875 |\n"
        "| Linear effect by features alone | -0.250: \u22122.00 of +8.00 logits |"
    )
    card = card_of(report=made_report())
    assert f"goes with its error nodes | 0.438 |\n{rows}" in card and SCORES_NOTE in card
    card = card_of()
    assert rows in card and SCORES_NOTE not in card
    little = {**SCORES, "replacement": None, "features_share": None}
    card = card_of(circuit=scored(little))
    assert "| Replacement score (of influence) | not defined |" in card
    assert "features alone | not defined: \u22122.00 of +8.00 logits |" in card
    # A run of a version that had none, and a graph of which no more is known.
    older = {name: value for name, value in CIRCUIT.summary.items() if name != "scores"}
    older_card = card_of(circuit=replace(CIRCUIT, summary=older), report=made_report())
    assert "eplacement score" not in older_card and SCORES_NOTE not in older_card
    assert "Linear effect" not in card_of(circuit=scored({"replacement": 0.75}))
    with pytest.raises(InputError, match=r"summary.*scores.*surprise"):
        card_of(circuit=scored({"surprise": 1}))


def test_a_table_aligns_its_numbers() -> None:
    assert table(("a", "n"), [("x", "1")], numbers=1) == "| a | n |\n| :-- | --: |\n| x | 1 |"


@pytest.mark.parametrize("baseline", ["corrupted", "mean", "zero", "resample"])
@pytest.mark.parametrize("positions", ["each", "span", "sum"])
@pytest.mark.parametrize("policy", ["recompute", "hold"])
def test_limits_follow_the_settings(baseline: str, positions: str, policy: str) -> None:
    circuit = made_circuit()
    settings = circuit.settings.model_copy(
        update={"baseline": baseline, "positions": positions, "error_policy": policy}
    )
    object.__setattr__(circuit, "settings", settings)
    points = limit_points(circuit, None, has_labels=True)
    text = " ".join(points)
    wanted = {
        "corrupted": "the corrupted prompt",
        "mean": "the mean",
        "zero": "no prompt leads to",
        "resample": "from prompt to prompt",
    }
    assert wanted[baseline] in text
    wanted = {"each": "token positions", "span": "named spans", "sum": "the whole prompt"}
    assert wanted[positions] in text
    assert ("clean prompt" in text.split("Error nodes")[1]) == (policy == "hold")
    assert len(points) >= 7
