"""Labels say what brute force over the same text says."""

import pytest
import torch

from saecircuits.errors import InputError
from saecircuits.features.labels import TOO_FEW, TokenScore, _short_text, label_features
from saecircuits.features.texts import generate_text
from saecircuits.splicing import observe
from tests.found import Found


def test_every_feature_of_the_circuit_has_one_label(found: Found) -> None:
    features = found.circuit.nodes[found.circuit.nodes["kind"] == "feature"]
    wanted = set(zip(features["site"], features["feature"], strict=True))
    labelled = [(label.site, label.feature) for label in found.labels]
    assert len(labelled) == len(set(labelled))
    assert set(labelled) == wanted
    order = [found.model.index(site) for site, _ in labelled]
    assert order == sorted(order)


def test_density_and_top_tokens_are_those_of_brute_force(found: Found) -> None:
    model = found.model
    text = generate_text(model, n_tokens=400, seed=1)
    run = observe(model, text)
    counted = text != 0
    counted[:, 0] = False
    for label in found.labels:
        acts = run.sites[model.index(label.site)].features[..., label.feature] * counted
        active = int((acts > 0).sum())
        assert label.n_tokens == int(counted.sum())
        assert label.density == pytest.approx(active / label.n_tokens)
        if active >= 5:
            strongest = acts.flatten().sort(descending=True)
            shares: dict[str, float] = {}
            for value, place in zip(strongest.values[:100], strongest.indices[:100], strict=True):
                word = model.tokenizer.decode([int(text.flatten()[place])])
                shares[word] = shares.get(word, 0.0) + float(value)
            best = max(shares, key=lambda word: shares[word])
            assert label.top_tokens[0].token == best
            assert label.top_tokens[0].score == pytest.approx(
                shares[best] / sum(shares.values()), rel=1e-5
            )


def test_contexts_peak_where_they_say_and_differ(found: Found) -> None:
    for label in found.labels:
        texts = [c for c in label.contexts if c.origin == "text"]
        peaks = [context.activations[context.peak] for context in texts]
        assert peaks == sorted(peaks, reverse=True)
        assert len({context.tokens for context in label.contexts}) >= len(texts)
        assert len(texts) <= 4 and len(label.contexts) <= 6
        for context in label.contexts:
            assert len(context.tokens) == len(context.activations) <= 15
            assert context.activations[context.peak] > 0


def test_a_rare_feature_gets_no_confident_label(found: Found) -> None:
    text = generate_text(found.model, n_tokens=3, seed=0)[:, :3]
    labels = label_features(found.model, found.circuit, text)
    rare = [label for label in labels if label.examples < 5]
    assert len(rare) == len(labels)
    assert {label.text for label in rare} == {TOO_FEW}


def test_the_tasks_prompts_do_not_count_for_density(found: Found) -> None:
    text = generate_text(found.model, n_tokens=400, seed=1)
    alone = label_features(found.model, found.circuit, text)
    assert [label.density for label in alone] == [label.density for label in found.labels]
    pairs = zip(alone, found.labels, strict=True)
    assert any(label.examples < other.examples for label, other in pairs)


def test_labels_are_the_same_each_time(found: Found) -> None:
    text = generate_text(found.model, n_tokens=400, seed=1)
    again = label_features(found.model, found.circuit, text, prompts=found.task.train)
    assert again == found.labels


def test_text_without_a_token_behind_bos_is_refused(found: Found) -> None:
    with pytest.raises(InputError, match=r"no token behind '<.endoftext.>'"):
        label_features(found.model, found.circuit, torch.zeros(3, 1, dtype=torch.long))


@pytest.mark.parametrize(
    ("top", "promoted", "expected"),
    [
        ([(" girl", 0.9), (" boy", 0.1)], [" She"], "girl | +She"),
        ([(" girl", 0.5), (" boy", 0.4)], [], "girl, boy"),
        ([(" Tim", 0.5), ("Tim", 0.4)], ["Tim"], "Tim"),
        ([(".", 0.9)], [" He"], "\u2018.\u2019 | +He"),
        ([("\n", 0.9)], [], "\u2018\u21b5\u2019"),
        ([(" ", 0.9)], [], "\u2423"),
    ],
)
def test_short_texts(top: list, promoted: list[str], expected: str) -> None:
    scores = [TokenScore(token=token, score=score) for token, score in top]
    news = [TokenScore(token=token, score=1.0) for token in promoted]
    assert _short_text(scores, news) == expected
