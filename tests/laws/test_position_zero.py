"""Where nothing is prepended, position 0 is a token like any other: read, a node, ablated.

The model is a random Qwen 3 whose tokenizer, like Qwen's, names no BOS, and an EOS that the bridge
would take for one.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformer_lens.model_bridge import TransformerBridge

from saecircuits import attribute, expand, treeify
from saecircuits.errors import InputError, TaskError
from saecircuits.features.corpus import corpus_of_prompts, corpus_of_text
from saecircuits.features.texts import generate_text, generated_contexts, read_contexts
from saecircuits.heads import behaviours, repeated_tokens, virtual_head
from saecircuits.nodes.ablation import ablate_nodes, keep_all, keep_none
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.units import Positions, make_units
from saecircuits.splicing import SplicedModel, splice
from saecircuits.splicing.layouts.found import Declared, FoundDictionary
from saecircuits.splicing.training import front_differs
from saecircuits.tasks import PromptPair, Prompts, tokenize
from saecircuits.tasks.prepending import prepended
from saecircuits.validation.bases import site_values
from tests.by_hand import hand_metric
from tests.models import (
    WORDS,
    Toy,
    build_tokenizer,
    make_contrast,
    random_sae,
    rotary_sizes,
)

HOOKS = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")


def without_bos(**special: str) -> Any:
    core = build_tokenizer().backend_tokenizer
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, **special)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    torch.manual_seed(11)
    config = transformers.Qwen3Config(**rotary_sizes(), hidden_size=20)
    transformers.Qwen3ForCausalLM(config).eval().save_pretrained(folder)
    without_bos(eos_token="<|endoftext|>").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> SplicedModel:
    bridge = TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float64)
    saes = {
        hook: random_sae("jumprelu", d_in=20, seed=seed, metadata={"prepend_bos": bool(seed)})
        for seed, hook in enumerate(HOOKS)
    }
    return splice(bridge, saes, name="qwen")


def pairs_of(changed: int) -> list[PromptPair]:
    """Pairs of five words that differ in one."""
    pairs = []
    for number in range(4):
        words = [f"w{1 + (3 * number + 2 * place) % 17}" for place in range(5)]
        other = [*words[:changed], f"w{18 + number % 3}", *words[changed + 1 :]]
        pairs.append(
            PromptPair(
                clean=" ".join(words), corrupted=" ".join(other),
                answer=(f"w{1 + number}",), wrong=(f"w{9 + number}",), id=str(number),
            )
        )  # fmt: skip
    return pairs


@pytest.fixture(scope="module")
def toy(model: SplicedModel) -> Toy:
    return Toy(model, tokenize(pairs_of(0), model.tokenizer, n_ctx=model.n_ctx))


def test_the_model_reads_what_hugging_face_reads(folder: Path, toy: Toy) -> None:
    own = transformers.AutoTokenizer.from_pretrained(folder)
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    assert own.bos_token is None
    assert toy.model.tokenizer.bos_token == "<|endoftext|>"  # what the bridge made of it
    for row, (clean, corrupted) in enumerate(toy.prompts.texts):
        assert toy.prompts.clean_tokens[row].tolist() == own(clean).input_ids
        assert toy.prompts.corrupted_tokens[row].tolist() == own(corrupted).input_ids
    with torch.no_grad():
        expected = plain(toy.prompts.clean_tokens).logits
        found = toy.model.forward(toy.prompts.clean_tokens)
        behind = toy.model.prepending("<|endoftext|>")
        front = tokenize(pairs_of(0), behind.tokenizer, n_ctx=19, prepend=behind.prepend)
        shifted = behind.forward(front.clean_tokens)[:, 1:]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (shifted - expected).abs().max() > 0.1  # what a token in front would have changed


@pytest.mark.parametrize(
    ("special", "prepend", "token", "why"),
    [
        ({"eos_token": "<|endoftext|>"}, None, None, "the tokenizer has no BOS"),
        ({"pad_token": "<|endoftext|>"}, None, None, "the tokenizer has no BOS"),
        ({"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}, None, "<|endoftext|>",
         "the tokenizer's own BOS"),
        ({"bos_token": "<|endoftext|>"}, "none", None, "asked for"),
        ({"eos_token": "<|endoftext|>"}, "<|endoftext|>", "<|endoftext|>", "asked for"),
        ({"eos_token": "<|endoftext|>"}, "w3", "w3", "asked for"),
    ],
)  # fmt: skip
def test_nothing_is_invented(
    special: dict[str, str], prepend: str | None, token: str | None, why: str, tmp_path: Path
) -> None:
    without_bos(**special).save_pretrained(tmp_path)
    for tokenizer in (without_bos(**special), transformers.AutoTokenizer.from_pretrained(tmp_path)):
        if tokenizer.bos_token is None:  # as transformer_lens's `setup_tokenizer` does
            tokenizer.eos_token = tokenizer.eos_token or "<|endoftext|>"
            tokenizer.bos_token = tokenizer.eos_token
        found = prepended(tokenizer, prepend)
        assert (found.token, found.why) == (token, why)
        assert prepended(tokenizer, found.choice).ids == found.ids


@pytest.mark.parametrize(
    ("prepend", "said"),
    [
        ("bos", "has no BOS of its own; give 'none'"),
        ("w3 w4", "reads as 'w3', 'w4'; give 'bos', 'none', or exactly one token"),
        ("unheard", "reads as '<|endoftext|>'"),
        ("", "reads as nothing"),
    ],
)
def test_what_cannot_be_prepended_is_refused(model: SplicedModel, prepend: str, said: str) -> None:
    for read in (
        lambda: model.prepending(prepend),
        lambda: tokenize(pairs_of(0), model.tokenizer, n_ctx=19, prepend=prepend),
    ):
        with pytest.raises(TaskError) as caught:
            read()
        assert said in str(caught.value)


def test_a_token_without_an_embedding_is_refused(folder: Path, tmp_path: Path) -> None:
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    plain.save_pretrained(tmp_path)
    without_bos(pad_token="<|endoftext|>").save_pretrained(tmp_path)
    bridge = TransformerBridge.boot_transformers(str(tmp_path), device="cpu", dtype=torch.float64)
    bridge.tokenizer.add_special_tokens({"sep_token": "<sep>"})
    made = splice(bridge, {HOOKS[0]: random_sae("jumprelu", d_in=20)})
    with pytest.raises(TaskError, match="'<sep>' is token 23, and the model has embeddings of 23"):
        made.prepending("<sep>")
    prompts = tokenize(pairs_of(0), bridge.tokenizer, n_ctx=19, prepend="<sep>")
    with pytest.raises(InputError, match="hold token 23, and the model has embeddings of 23"):
        Experiment(made, prompts)


def test_units_hold_every_token(toy: Toy) -> None:
    names: dict[Positions, tuple[str, ...]] = {
        "each": ("0", "1", "2", "3", "4"),
        "span": ("t1", "t2", "t3", "t4", "t5"),
        "sum": ("prompt",),
    }
    for positions, expected in names.items():
        units = make_units(toy.prompts, positions, tokenizer=toy.model.tokenizer)
        assert units.names == expected
        assert (units.clean >= 0).all() and (units.corrupted >= 0).all()
        assert units.membership.sum() == toy.prompts.clean_tokens.numel()


def test_spans_name_the_same_words_whatever_stands_before_them(model: SplicedModel) -> None:
    spans = (("two", 1, 3), ("last", 5, 6))
    given = [replace(one, clean_spans=spans, corrupted_spans=spans) for one in pairs_of(1)]
    by_word = [replace(one, by_word=True) for one in pairs_of(1)]
    for pairs in (given, by_word, pairs_of(1)):
        alone, behind = (
            tokenize(pairs, model.tokenizer, n_ctx=19, prepend=choice) for choice in ("none", "w9")
        )
        assert alone.span_names == behind.span_names
        assert torch.equal(alone.clean_spans, behind.clean_spans[:, 1:])
        assert (behind.clean_spans[:, 0] == -1).all() and (alone.clean_spans >= 0).all()
    assert [alone.first, behind.first] == [0, 1]
    assert alone.digest != behind.digest


@pytest.mark.parametrize("positions", ["each", "span", "sum"])
def test_the_ends_of_ablation(toy: Toy, positions: Positions) -> None:
    contrast = make_contrast(toy.model, toy.prompts, positions=positions)
    n_unit = len(contrast.units)
    whole, empty = ablate_nodes(
        contrast, [keep_all(toy.model, n_unit), keep_none(toy.model, n_unit)]
    )
    for found, tokens in (
        (whole, toy.prompts.clean_tokens), (empty, toy.prompts.corrupted_tokens)
    ):  # fmt: skip
        with torch.no_grad():
            expected = hand_metric(toy.model.bridge(tokens), toy.prompts)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (whole - empty).abs().max() > 0.1


def test_conservation_and_effects_at_position_0(toy: Toy) -> None:
    graph = attribute(
        toy.model, toy.prompts, positions="each", estimator="gradient", max_nodes=10**6
    )
    nodes = graph.nodes.iloc[1:].set_index("node")
    out = graph.edges.groupby("source")["effect"].sum().reindex(nodes.index).fillna(0)
    np.testing.assert_allclose(out, nodes["effect"], rtol=0, atol=1e-5)
    at_first = nodes[nodes["span"] == "0"]
    # The words differ there and nowhere else.
    assert at_first["effect"].abs().max() > 0.05
    assert set(nodes.loc[nodes["kind"] == "token"].query("effect != 0")["span"]) == {"0"}
    # Its effect is what autograd says of the logits.
    embedded = toy.model.bridge.W_E[toy.prompts.clean_tokens].detach().requires_grad_(True)
    logits = toy.model.forward(toy.prompts.clean_tokens, at_tokens=lambda _: embedded)
    (slope,) = torch.autograd.grad(hand_metric(logits, toy.prompts).sum(), embedded)
    with torch.no_grad():
        change = embedded - toy.model.bridge.W_E[toy.prompts.corrupted_tokens]
    effect = float((slope * change).sum(-1)[:, 0].mean())
    assert nodes.loc["token@0", "effect"] == pytest.approx(effect, abs=1e-5)


def test_texts_are_looked_at_from_their_first_token(toy: Toy, tmp_path: Path) -> None:
    model = toy.model
    text = generate_text(model, n_tokens=300, seed=1)
    assert text.shape == (16, 19)
    assert len(set(text[:, 0].tolist())) > 5 and 0 not in text[:, 0]  # special tokens begin none
    assert torch.equal(text, generate_text(model, n_tokens=300, seed=1))
    assert generated_contexts(model).source.endswith("each text from a token drawn at random")
    assert corpus_of_text(text, bos=model.prepended.id).looked_at.all()
    assert corpus_of_prompts(toy.prompts).looked_at.all()
    assert site_values(model, toy.prompts)[0].shape == (20, 20)
    (tmp_path / "t").write_text("w1 w2 w3\n\nw4")
    read = corpus_of_text(read_contexts(tmp_path / "t", model).text, bos=None)
    assert read.size == 4
    assert [row[seen].tolist() for row, seen in zip(read.tokens, read.looked_at, strict=True)] == [
        [1, 2, 3],
        [4],
    ]


def test_heads_and_expansions_count_it(toy: Toy) -> None:
    model = toy.model
    rows = repeated_tokens(model, prompts=3, length=8)
    assert rows.shape == (3, 16) and torch.equal(rows[:, :8], rows[:, 8:])
    assert (behaviours(model, prompts=3, length=8)["previous"] > 0).all()
    assert 0 < virtual_head(model, "w1 w2 w3", (0, 0), (1, 1)).size < np.inf
    found = expand(model, "w1 w2 w3")
    assert found.tokens == ("w1", "w2", "w3")
    assert found.remainder.baseline == "token embeddings at zero"
    paths = treeify(model, "w1 w2 w3").paths(limit=50)
    assert np.isfinite(paths.total) and abs(paths.total) > 0


def test_what_dictionaries_had_in_front_is_told(toy: Toy) -> None:
    told = Experiment(toy.model, toy.prompts).provenance
    assert told["prepended"] == {"token": None, "id": None, "why": "the tokenizer has no BOS"}
    assert told["trained_with"] == {
        HOOKS[0]: {"prepend_bos": False}, HOOKS[1]: {"prepend_bos": True},
    }  # fmt: skip
    assert told["prepended_differs"] == (
        "dictionaries at blocks.1.hook_resid_post were trained with a BOS in front of texts "
        "(prepend_bos=True), and these prompts have nothing there"
    )
    behind = front_differs(toy.model, toy.model.prepending("w3").prepended)
    assert behind is not None and behind.startswith("dictionaries at blocks.0")
    assert front_differs(toy.model.at(HOOKS[1:]), toy.model.prepending("w3").prepended) is None


def test_what_files_say_of_it_comes_with_a_dictionary(toy: Toy) -> None:
    known = toy.model.splices[0].dictionary
    said = Declared(prepend_bos=True, excludes_special_tokens=(0, 2))
    one = FoundDictionary(
        Path("a"), "sae_lens", HOOKS[0], HOOKS[0], "jumprelu", 31, said, lambda: known
    )
    found = one.load()
    assert (found.prepend_bos, found.exclude_special_tokens) == (True, (0, 2))
    assert found.digest() == known.digest()


def test_prompts_behind_different_tokens_are_not_mixed(toy: Toy) -> None:
    behind: Prompts = tokenize(pairs_of(2), toy.model.tokenizer, n_ctx=19, prepend="w9")
    with pytest.raises(InputError, match=r"in front of the prompts there is nothing, .* 'w9'"):
        Experiment(toy.model, toy.prompts, baseline="mean", reference=behind)


def test_the_context_counts_what_is_prepended(model: SplicedModel) -> None:
    pairs = pairs_of(0)
    assert tokenize(pairs, model.tokenizer, n_ctx=5).clean_tokens.shape == (4, 5)
    with pytest.raises(TaskError, match=r"has 6 tokens with 'w9', but the model reads 5"):
        tokenize(pairs, model.tokenizer, n_ctx=5, prepend="w9")
    assert int(model.bridge.cfg.d_vocab) == WORDS
