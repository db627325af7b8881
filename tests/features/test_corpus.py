"""Activations read over a corpus are the dictionary's own, and padding is never looked at."""

import torch

from saecircuits.features.at_once import tokens_at_once
from saecircuits.features.corpus import corpus_of_prompts, corpus_of_text, read_features
from saecircuits.splicing import observe
from saecircuits.tasks import PromptPair, tokenize
from tests.models import Toy

WANTED = {"blocks.0.hook_attn_out": [30, 2], "blocks.1.hook_mlp_out": [7]}


def test_activations_are_those_of_one_plain_run(toy_mixed: Toy) -> None:
    model = toy_mixed.model
    text = torch.randint(1, 23, (11, 13))
    corpus = corpus_of_text(text, bos=0)
    found = read_features(model, corpus, WANTED)
    run = observe(model, text)
    for hook, features in WANTED.items():
        expected = run.sites[model.index(hook)].features[..., features].clone()
        expected[:, 0] = 0  # BOS
        dense = torch.from_numpy(found[hook].toarray()).reshape(11, 13, -1)
        torch.testing.assert_close(dense, expected.double(), rtol=1e-6, atol=1e-7)


def test_batches_change_nothing(toy_mixed: Toy) -> None:
    corpus = corpus_of_text(torch.randint(1, 23, (5, 7)), bos=0)
    whole = read_features(toy_mixed.model, corpus, WANTED)
    limit = 4 * 14 * 8 * (24 * 14 + 6 * 29)  # 14 tokens, that is, two texts
    assert tokens_at_once(toy_mixed.model, limit) == 14
    assert tokens_at_once(toy_mixed.model, 10**12) == 2048
    parts = read_features(toy_mixed.model, corpus, WANTED, memory_limit=limit)
    for hook in WANTED:
        torch.testing.assert_close(
            torch.from_numpy(parts[hook].toarray()), torch.from_numpy(whole[hook].toarray())
        )


def test_bos_is_left_out_wherever_it_stands() -> None:
    corpus = corpus_of_text(torch.tensor([[9, 4, 0, 5], [0, 1, 2, 3]]), bos=0)
    assert corpus.looked_at.tolist() == [[False, True, False, True], [False, True, True, True]]
    assert corpus.size == 5


def test_padding_is_left_out(toy: Toy) -> None:
    spans = (("all", 1, 2),)
    pairs = [
        PromptPair(
            clean=clean,
            corrupted=corrupted,
            answer=("w1",),
            wrong=("w2",),
            id=clean,
            clean_spans=spans,
            corrupted_spans=spans,
        )
        for clean, corrupted in (("w3", "w4 w5 w6"), ("w7 w8", "w9"))
    ]
    prompts = tokenize(pairs, toy.model.tokenizer, n_ctx=19)
    corpus = corpus_of_prompts(prompts)
    assert corpus.tokens.shape == (4, 4)
    rows = zip(corpus.tokens, corpus.looked_at, strict=True)
    looked_at = [row[seen].tolist() for row, seen in rows]
    assert looked_at == [[3], [7, 8], [4, 5, 6], [9]]  # clean prompts, then corrupted ones
