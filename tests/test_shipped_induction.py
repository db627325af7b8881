"""The shipped attention-only model: its classical terms come out by name.

Bounds leave room beside what was measured (docs/attention.md), on prompts of another seed.
"""

import json

import pandas as pd
import pytest
import torch

import saecircuits as sc
from saecircuits import heads
from saecircuits.splicing.loading import model_folder

SEED = 7


@pytest.fixture(scope="module")
def model() -> sc.SplicedModel:
    return sc.load_model("induction")


@pytest.fixture(scope="module")
def tokens(model: sc.SplicedModel) -> torch.Tensor:
    return heads.repeated_tokens(model, prompts=24, seed=SEED)


@pytest.fixture(scope="module")
def known(model: sc.SplicedModel) -> pd.DataFrame:
    return heads.behaviours(model, prompts=24, seed=SEED)


def _strongest(known: pd.DataFrame, layer: int, kind: str) -> int:
    here = known[known["layer"] == layer]
    return int(here.loc[here[kind].idxmax(), "head"])


def test_its_mlps_are_zero(model: sc.SplicedModel) -> None:
    mlps = [weight for name, weight in model.bridge.state_dict().items() if ".mlp." in name]
    assert mlps
    assert not any(weight.any() for weight in mlps)


def test_repeated_words_are_foretold(known: pd.DataFrame) -> None:
    assert known.attrs["second_time"] < 0.1 < 5 < known.attrs["first_time"]


def test_there_are_previous_token_and_induction_heads(known: pd.DataFrame) -> None:
    first, second = known[known["layer"] == 0], known[known["layer"] == 1]
    assert first["previous"].max() > 0.8
    assert second["induction"].max() > 0.8
    assert first["induction"].max() < 0.1


def test_the_direct_path_is_the_bigram_table(model: sc.SplicedModel) -> None:
    rules = json.loads((model_folder("induction") / "language.json").read_text(encoding="utf-8"))
    ids = {word: token for token, word in enumerate(rules["words"])}
    table = heads.direct_path(model)
    hits = [
        len(set(table[ids[word]].topk(4).indices.tolist()) & {ids[other] for other in successors})
        for word, successors in rules["bigrams"].items()
    ]
    assert sum(hits) / (4 * len(hits)) > 0.9


def test_one_head_carries_the_skip_trigrams(model: sc.SplicedModel) -> None:
    rules = json.loads((model_folder("induction") / "language.json").read_text(encoding="utf-8"))
    ids = {word: token for token, word in enumerate(rules["words"])}
    outcomes: dict[int, set[int]] = {}
    for rule in rules["skip_trigrams"]:
        outcomes.setdefault(ids[rule["topic"]], set()).add(ids[rule["outcome"]])
    found = []
    for head in range(4):
        writes = heads.skip_trigrams(model, 0, head).writes
        found.append(
            sum(len(set(writes[topic].topk(12).indices.tolist()) & own) for topic, own in
                outcomes.items()) / (12 * len(outcomes))
        )  # fmt: skip
    best, *others = sorted(found, reverse=True)
    assert best > 0.6
    assert max(others) < 0.3


def test_the_induction_circuit_is_k_composition(
    model: sc.SplicedModel, tokens: torch.Tensor, known: pd.DataFrame
) -> None:
    """The induction head whose keys the previous-token head makes: by scores, and by patching."""
    previous = _strongest(known, 0, "previous")
    composed = sc.composition(model).set_index(["writer", "reader"])["k"]
    length = (tokens.shape[1] - 1) // 2
    induction = [
        int(row["head"])
        for row in known.to_dict("records")
        if row["layer"] == 1 and row["induction"] > 0.8
    ]
    reader = max(induction, key=lambda head: _key_path(model, tokens, previous, head))
    assert composed[(f"L0.H{previous}", f"L1.H{reader}")] > 0.12
    effects = heads.path_effects(
        model, tokens, (0, previous), (1, reader), offset=length - 1, start=length + 1
    ).set_index("path")
    assert effects.loc["k", "attention_lost"] > 0.5
    assert effects.loc["q", "attention_lost"] < 0.2
    assert effects.loc["v", "loss_gained"] < 0.05
    shares = []
    for number, row in enumerate(tokens[:8].tolist()):
        query = length + 5 + number
        terms = heads.attention(
            model, row, 1, reader, query=query, key=query - length + 1, by="components",
            against="uniform",
        ).key_terms.set_index("key_term")["contrast"]  # fmt: skip
        shares.append(terms / terms.sum())
    mean = pd.concat(shares, axis=1).mean(axis=1)
    assert mean.idxmax() == f"L0.H{previous}"
    assert mean[f"L0.H{previous}"] > 0.5
    assert abs(mean["tokens"]) < 0.2


def _key_path(model: sc.SplicedModel, tokens: torch.Tensor, writer: int, reader: int) -> float:
    length = (tokens.shape[1] - 1) // 2
    table = heads.path_effects(
        model, tokens, (0, writer), (1, reader), offset=length - 1, start=length + 1
    )
    return float(table.set_index("path").loc["k", "attention_lost"])


def test_features_carry_it_too(model: sc.SplicedModel, tokens: torch.Tensor) -> None:
    found = heads.attention(model, tokens[0].tolist(), 1, 0, query=40, against="uniform")
    both = found.pairs[["query_term", "key_term"]].apply(lambda term: term.str[:7] == "feature")
    assert found.pairs.loc[both.all(axis=1), "share"].sum() > 0.5
