"""Every experiment runs, at a size that says nothing about the results."""

import json
import math
import random
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pandas as pd
import pytest
import torch

from experiments.baselines import run as baselines
from experiments.circuits import run as circuits
from experiments.degrees import run as degrees
from experiments.estimators import run as estimators
from experiments.expansion import run as expansion
from experiments.false_positives import run as false_positives
from experiments.gallery import run as gallery
from experiments.graph_scores import run as graph_scores
from experiments.ground_truth import run as ground_truth
from experiments.induction import run as induction
from experiments.linearity import run as linearity
from experiments.long_prompt import run as long_prompt
from experiments.objective import run as objective
from experiments.paths_or_nodes import run as paths_or_nodes
from experiments.precision import run as precision
from experiments.real_width import run as real_width
from experiments.redundancy import run as redundancy
from experiments.selection import run as selection
from experiments.selection import starts as selection_starts
from experiments.solved import front
from experiments.solved import run as solved
from experiments.thresholds import run as thresholds
from experiments.transfer import run as transfer
from saecircuits.splicing.loading import entries_of, load_model, read_manifest
from saecircuits.splicing.manifests import check_files

ROOT = Path(__file__).resolve().parents[2]

trains = pytest.mark.skipif(
    not hasattr(torch.optim, "Muon"), reason="training uses torch.optim.Muon, of torch 2.9"
)


def _check_chart(path: Path) -> str:
    """The text of a chart, which is a whole SVG with a title."""
    drawn = path.read_text(encoding="utf-8")
    root = ElementTree.fromstring(drawn)
    assert root.tag.endswith("}svg")
    assert root[0].tag.endswith("}title") and root[0].text
    return drawn


@pytest.mark.slow
def test_circuits(tmp_path: Path) -> None:
    circuits.main(["--tasks", "agreement", "--limit", "6", "--out", str(tmp_path)])
    row = pd.read_csv(tmp_path / "circuits.csv").iloc[0]
    assert row["task"] == "agreement"
    assert row["100 nodes"] <= row["300 nodes"] + 0.05
    assert "| agreement |" in (tmp_path / "circuits.md").read_text(encoding="utf-8")


def test_solved(tmp_path: Path) -> None:
    asked = ["--model", "stories", "--limit", "6", "--out", str(tmp_path)]
    solved.main([*asked, "--tasks", "agreement", "ioi", "--prepend", "none"])
    known, untaught = pd.read_csv(tmp_path / "solved.csv").to_dict("records")
    assert known["in front"] == "nothing" and known["pairs"] == 12
    assert known["right, test"] == 1.0 and known["done"] == "yes"
    assert known["logit difference"] > 0 > known["of the corrupted prompt"]
    assert untaught["done"] == "failed"
    solved.main(["--model", "induction", "--tasks", "agreement", "--out", str(tmp_path)])
    (refused,) = pd.read_csv(tmp_path / "solved.csv")["done"]
    assert refused.startswith("not read: task 'agreement': 0 usable pairs with this tokenizer")


def test_what_stands_in_front(tmp_path: Path) -> None:
    asked = ["--model", "stories", "--tasks", "agreement", "--prepend", "bos", "none"]
    front.main([*asked, "--limit", "4", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "front.csv")
    assert table["in front"].tolist() == ["'<|endoftext|>'", "nothing"]
    assert (table["agreement"] > 0).all()
    assert (table["stream at position 0 / elsewhere"] > 0).all()


@pytest.mark.slow
def test_selection(tmp_path: Path) -> None:
    small = ["--methods", "effect", "--limit", "6", "--faithfulness", "0.5", "--held-out", "0.3"]
    selection.main(["--tasks", "agreement", *small, "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "selection.csv")
    assert table["with_errors"].tolist() == [True, False]
    assert (table["by edges"].dropna() >= 0.3).all()


def test_selection_goes_on_with_the_rows_it_has(tmp_path: Path) -> None:
    known = {
        "effect": [60, 80, float("nan"), 40],
        "masks": [30, 60, float("nan"), float("nan")],
    }
    tasks = ["agreement", "agreement", "pronoun", "pronoun"]
    rows = [
        {"task": task, "method": method, "with_errors": allowed, "nodes": nodes, "by edges": 0.81}
        for method, sizes in known.items()
        for task, allowed, nodes in zip(tasks, [True, False] * 2, sizes, strict=True)
    ]
    pd.DataFrame(rows[::-1]).to_csv(tmp_path / "selection.csv", index=False)
    asked = ["--tasks", "pronoun", "agreement", "--methods", "effect", "masks"]
    selection.main([*asked, "--out", str(tmp_path)])
    lines = (tmp_path / "selection.md").read_text(encoding="utf-8").splitlines()[2:]
    assert lines[:2] == [
        "| pronoun | effect | True | - | 0.81 |",
        "| pronoun | masks | True | - | 0.81 |",
    ]
    assert len(lines) == len(rows)
    found = pd.read_csv(tmp_path / "selection_shares.csv")
    assert found["task"].tolist() == ["pronoun", "pronoun", "agreement", "agreement"]
    assert found["masks"].tolist()[2:] == [0.5, 0.75]
    assert found["masks"].isna().tolist() == [True, True, False, False]


@pytest.mark.slow
def test_selection_starts(tmp_path: Path) -> None:
    small = ["--limit", "4", "--faithfulness", "0.5"]
    selection_starts.main(["--tasks", "agreement", *small, "--out", str(tmp_path)])
    found = pd.read_csv(tmp_path / "selection_starts.csv").iloc[0]
    for start in ("effect", "masks", "random"):
        assert 0 < found[f"{start}, end"] <= found[f"{start}, start"]
    assert found["shared, end"] <= found[["effect, end", "masks, end", "random, end"]].min()


@pytest.mark.slow
def test_estimators(tmp_path: Path) -> None:
    small = ["--nodes", "8", "--edges", "8", "--joint-nodes", "4"]
    estimators.main(["--tasks", "agreement", "--limit", "4", *small, "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "estimators.csv")
    assert len(table) == len(estimators.WAYS)
    assert table["nodes spearman"].between(-1, 1).all()


def test_graph_scores(tmp_path: Path) -> None:
    small = ["--out", str(tmp_path), "--tasks", "pronoun", "--limit", "4", "--nodes", "60"]
    graph_scores.main(small)
    row, mean = pd.read_csv(tmp_path / "graph_scores.csv").to_dict("records")
    assert row["task"] == "pronoun" and 0 < row["replacement"] < row["completeness"] < 1
    assert row["share"] == pytest.approx(row["by features"] / row["tokens, logits"])
    assert mean == {**row, "task": "mean"}


def test_thresholds(tmp_path: Path) -> None:
    small = ["--tasks", "agreement", "--limit", "2", "--repeats", "1", "--out", str(tmp_path)]
    thresholds.main(small)
    (row,) = pd.read_csv(tmp_path / "thresholds.csv").to_dict("records")
    assert row["crossed / held"] == pytest.approx(row["crossed"] / row["held"], rel=1e-3)


def test_precision(tmp_path: Path) -> None:
    small = ["--limit", "2", "--nodes", "8", "--max-nodes", "10", "--dtypes", "float32", "bfloat16"]
    precision.main(["--tasks", "agreement", *small, "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "precision.csv").set_index("dtype")
    assert list(table.index) == ["float64", "float32", "bfloat16"]
    assert table.loc["float64", "nodes error"] == 0
    # The units of least precision are 2^-24 and 2^-8.
    assert 0 < table.loc["float32", "nodes error"] < 1e-4 < table.loc["bfloat16", "nodes error"]
    assert table["failed"].isna().all()


def test_precision_by_hand() -> None:
    exact = pd.DataFrame({"node": ["a", "b", "c"], "effect": [4.0, -3.0, 1.0]})
    found = pd.DataFrame({"node": ["b", "a", "d"], "effect": [-2.0, 4.5, 0.5]})
    error, spearman, shared = precision.compared(exact, found, ["node"])
    # b is off by 1, a by 0.5; c is not found, and d is not there: 1 and 0.5.
    assert error == pytest.approx(3 / 8)
    # Ranks of a, b, c, d: 4 1 3 2 exactly and 4 1 2 3 as found.
    assert spearman == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert shared == 1.0


@pytest.mark.slow
def test_gallery(tmp_path: Path) -> None:
    places = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "docs")]
    gallery.main(["--tasks", "agreement", "--limit", "4", *places])
    page = (tmp_path / "docs/gallery.md").read_text(encoding="utf-8")
    assert "| [agreement](#agreement) |" in page
    assert "Held-out faithfulness" in page
    picture = tmp_path / "docs/gallery/agreement.svg"
    assert f"gallery/{picture.name}" in page
    assert picture.read_bytes() == (tmp_path / "runs/agreement/figure.svg").read_bytes()


def test_long_prompt() -> None:
    found = long_prompt.measure(24, "1GB", 1e-3)
    assert found["sources"] > found["targets"] > 0
    assert found["edges_computed"] >= found["edges_kept"] > 0
    assert found["peak_bytes"] >= found["peak_bytes_loaded"]


@pytest.mark.slow
def test_real_width() -> None:
    width = real_width.Width(
        d_model=24, n_heads=2, d_head=8, d_mlp=40, d_vocab=400, d_sae=48, n_tokens=5
    )
    found = real_width.measure(width, active=6, limit="1GB", nodes=9)
    assert found["edges"] > 0
    peaks = list(found["peak_bytes"].values())
    assert peaks == sorted(peaks) and len(peaks) >= 8


@pytest.mark.slow
def test_expansion(tmp_path: Path) -> None:
    expansion.main(["--tasks", "pronoun", "--limit", "2", "--out", str(tmp_path)])
    for operator in expansion.OPERATORS:
        table = pd.read_csv(tmp_path / f"degrees_{operator}.csv")
        assert table["exact error"].iloc[-1] < 1e-4 < table["naive error"].iloc[-1]
        assert table["share of absolute logit"].sum() == pytest.approx(1)
    _check_chart(tmp_path / "expansion_naive.svg")


@pytest.mark.slow
def test_degrees(tmp_path: Path) -> None:
    small = ["--limit", "4", "--prompts", "2", "--max-nodes", "60", "--random", "1"]
    few = ["--faithfulness", "0.6"]
    degrees.main(["--tasks", "pronoun", *small, *few, "--out", str(tmp_path)])
    row = pd.read_csv(tmp_path / "degrees.csv").iloc[0]
    assert row["absolute"] <= row["all absolute"]
    assert abs(row["paths of the circuit"]) <= row["absolute"]
    shares = pd.read_csv(tmp_path / "degrees_means.csv").set_index("degree")
    assert (shares.drop(columns="random paths").sum() - 1).abs().max() < 1e-6
    assert shares["edges"][3:].sum() == 0 < shares["paths"][3:].sum()
    _check_chart(tmp_path / "degrees.svg")


@pytest.mark.slow
def test_baselines(tmp_path: Path) -> None:
    small = ["--tasks", "agreement", "--limit", "2", "--kinds", "features", "neurons"]
    baselines.main([*small, "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "baselines.csv")
    assert list(table["kind"]) == ["features", "neurons"]
    _check_chart(tmp_path / "baselines.svg")


@pytest.mark.slow
def test_false_positives(tmp_path: Path) -> None:
    small = ["--tasks", "agreement", "--limit", "6", "--nodes", "6", "--repetitions", "1"]
    false_positives.main([*small, "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "false_positives.csv").set_index("prompts")
    assert table.loc["as they are", "called a circuit"] == 1
    assert table.loc["clean = corrupted", "called a circuit"] == 0
    assert table.loc["labels shuffled", "repetitions"] == 1


@pytest.mark.slow
def test_transfer(tmp_path: Path) -> None:
    small = ["--paraphrases", "agreement", "--families", "--limit", "2", "--nodes", "20"]
    transfer.main([*small, "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "transfer.csv")
    assert list(table["kind"]) == ["paraphrase"]
    assert table["shared nodes"].between(0, 1).all()


def test_ground_truth(tmp_path: Path) -> None:
    small = ["--models", "two hops", "--estimators", "gradient", "--pairs", "8"]
    ground_truth.main([*small, "--out", str(tmp_path)])
    row = pd.read_csv(tmp_path / "ground_truth.csv").iloc[0]
    assert row["AUROC"] == row["exact match"] == 1.0
    assert row["backup edges missed"] > 0
    assert "| True |" in (tmp_path / "backups.md").read_text(encoding="utf-8").splitlines()[2]


@pytest.mark.slow
def test_linearity(tmp_path: Path) -> None:
    small = ["--nodes", "6", "--edges", "4", "--neurons", "2"]
    linearity.main(["--tasks", "agreement", "--limit", "4", *small, "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "linearity_medians.csv")
    assert {"feature", "neuron", "head", "edge"} <= set(table["kind"])
    assert len(pd.read_csv(tmp_path / "linearity_profile.csv")) == 5
    for name in ("linearity.svg", "linearity_curves.svg"):
        _check_chart(tmp_path / name)


@pytest.mark.slow
def test_paths_or_nodes(tmp_path: Path) -> None:
    small = ["--limit", "4", "--max-nodes", "60", "--paths", "40", "--budgets", "40", "120"]
    paths_or_nodes.main(["--tasks", "pronoun", *small, "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "paths_or_nodes.csv")
    assert len(table) == 2 * len(paths_or_nodes.WAYS)
    assert (table["bits"] <= table["budget"]).all()
    assert (table.groupby("way")["nodes"].diff().dropna() >= 0).all()
    assert len(pd.read_csv(tmp_path / "paths_or_nodes_by_bits.csv")) == 2


def test_descriptions_cost_what_is_counted_by_hand() -> None:
    edges = [("t", "a"), ("t", "b"), ("a", "c"), ("a", "d"), ("a", "m"), ("a", "b"), ("b", "m")]
    table = pd.DataFrame(edges, columns=["source", "target"])
    code = paths_or_nodes.Code(table, ["t", "u"])  # 2 beginnings; t has 2 ends, a 4, b 1
    assert code.steps(("t", "a", "m")) == [1.0, 1.0, 2.0]
    told = list(paths_or_nodes.by_paths([("t", "a", "m"), ("t", "b", "m")], code))
    assert [one.bits for one in told] == [4.0, 5.0]  # 4 + (1 + 1 + 0) - log2 2!
    assert told[1].nodes == ("t", "a", "m", "b")
    paths = pd.DataFrame({"nodes": [("t", "a", "m"), ("t", "b", "m")], "effect": [3.0, -2.0]})
    # 2/2 a bit for the second path; then the first leaves it behind one of {"", t, t b}.
    greedy = list(paths_or_nodes.by_greedy(paths, code))
    assert [one.nodes for one in greedy] == [("t", "b", "m"), ("t", "b", "m", "a")]
    assert [one.bits for one in greedy] == pytest.approx([2.0, 2.0 + math.log2(3) + 3.0])
    sets = list(paths_or_nodes.by_nodes(pd.Index(list("abcdef"))))
    assert [one.bits for one in sets] == pytest.approx([math.log2(n) for n in (6, 15, 20)])


@pytest.mark.slow
def test_redundancy(tmp_path: Path) -> None:
    small = ["--members", "4", "--limit", "4"]
    redundancy.main(["--tasks", "agreement", *small, "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "redundancy.csv").set_index("game")
    assert list(table.index) == ["circuit", "alone", "inner", "last", "layers"]
    grades = table[["grade 1", "grade 2", "grade 3", "grade 4 and above"]]
    assert (grades.sum(axis=1).drop("alone") - 1).abs().max() < 1e-4
    assert "agreement" in _check_chart(tmp_path / "redundancy.svg")


def _corpus(folder: Path) -> Path:
    """A few made-up stories, to train and to measure on."""
    folder.mkdir()
    choose = random.Random(0).choice
    for name, count in (("corpus.txt", 300), ("corpus_valid.txt", 60)):
        stories = [
            f"Once there was a {choose(['girl', 'boy', 'dog'])} in the {choose(['park', 'zoo'])}. "
            f"They saw a {choose(['red', 'big', 'new'])} {choose(['ball', 'car', 'bird'])}. "
            f"It was a {choose(['good', 'long', 'warm'])} day and they were glad."
            for _ in range(count)
        ]
        (folder / name).write_text("\n<|endoftext|>\n".join(stories), encoding="utf-8")
    return folder


@trains
@pytest.mark.slow
def test_pretraining(tmp_path: Path) -> None:
    corpus, out = _corpus(tmp_path / "corpus"), tmp_path / "tiny"
    command = ["experiments/pretrain/run.py", "--corpus", str(corpus), "--out", str(out), "--tiny"]
    subprocess.run(
        [sys.executable, *command, "--threads", "1"], cwd=ROOT, check=True, capture_output=True
    )
    manifest = read_manifest(out)
    check_files(out, manifest)
    assert json.dumps(manifest)
    model = load_model(out)
    assert model.hooks == tuple(manifest["default_sites"])


@trains
@pytest.mark.slow
def test_dictionaries_of_another_seed(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "corpus")
    command = ["experiments/pretrain/reseeded.py", "--corpus", str(corpus), "--out", str(tmp_path)]
    subprocess.run(
        [sys.executable, *command, "--seeds", "3", "--tiny", "--threads", "1"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    made, shipped = load_model(tmp_path / "seed_3"), load_model("stories")
    assert made.describe()["model_digest"] == shipped.describe()["model_digest"]
    assert made.hooks == shipped.hooks
    manifest = read_manifest(tmp_path / "seed_3")
    assert manifest["command"].endswith("--seeds 3")
    # Measured by the training code on the shipped weights: it has read them rightly.
    loss = read_manifest("stories")["language_model"]["constructions"]["agreement"]
    found = manifest["language_model"]["constructions"]["agreement"]
    assert found["logit_difference"] == pytest.approx(loss["logit_difference"], rel=0.2)


@trains
@pytest.mark.slow
def test_dictionaries_tuned_on(tmp_path: Path) -> None:
    corpus, out = _corpus(tmp_path / "corpus"), tmp_path / "out"
    command = ["experiments/pretrain/retuned.py", "--corpus", str(corpus), "--out", str(out)]
    rows = ["--rows", "change", "stories-effects", "--tiny", "--threads", "1"]
    subprocess.run([sys.executable, *command, *rows], cwd=ROOT, check=True, capture_output=True)
    shipped = read_manifest("stories")
    sizes = {one["hook_name"]: one["d_sae"] for one in entries_of(shipped, None)}
    for name, trained in (("change", 256), ("stories-effects", 2048)):
        made, manifest = load_model(out / name), read_manifest(out / name)
        assert made.hooks == tuple(shipped["default_sites"])
        assert manifest["command"].endswith(f"--rows {name}")
        for entry in manifest["dictionaries"]:
            # What was added is off until it is put somewhere, and what is off is removed.
            assert 0 < entry["d_sae"] <= sizes[entry["hook_name"]]
            assert entry["trained_features"] == trained
            assert entry["fraction_variance_explained"] > 0.5
    table = out / "objective"
    objective.main(
        ["--models", str(out / "change"), "--tasks", "pronoun", "--limit", "4", "--nodes", "20",
         "--out", str(table)]
    )  # fmt: skip
    (row,) = pd.read_csv(table / "objective.csv").to_dict("records")
    assert row["model"] == "change" and 0 < row["replacement"] < 1


@trains
@pytest.mark.slow
def test_induction_pretraining(tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    command = ["experiments/pretrain/induction.py", "--out", str(out), "--tiny"]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    manifest = read_manifest(out)
    check_files(out, manifest)
    model = load_model(out)
    assert model.hooks == tuple(manifest["default_sites"])
    weights = model.bridge.state_dict()
    mlps = [weight for name, weight in weights.items() if ".mlp." in name]
    assert mlps
    assert not any(weight.any() for weight in mlps)


@pytest.mark.slow
def test_induction(tmp_path: Path) -> None:
    induction.main(["--prompts", "4", "--out", str(tmp_path)])
    assert len(pd.read_csv(tmp_path / "behaviours.csv")) == 8
    _check_chart(tmp_path / "induction-paths.svg")
