"""Tuning of dictionaries as one set: the parts of its loss, and that it goes on as it was."""

import importlib
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from saecircuits.splicing import manifests
from tests.models import build_tokenizer

PRETRAIN = Path(__file__).resolve().parents[2] / "experiments" / "pretrain"
WIDTH, FEATURES, LAYERS, WORDS, ROW = 24, 37, 3, 53, 11
SITES = [f"blocks.{layer}.hook_resid_post" for layer in range(LAYERS)]


@pytest.fixture
def pretrain(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modules of the training scripts, which import each other by name; all in float32."""
    monkeypatch.syspath_prepend(str(PRETRAIN))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    return importlib.import_module


@pytest.fixture
def model(pretrain: Any) -> Any:
    """A random language model of the kind that is trained."""
    torch.manual_seed(5)
    architecture = pretrain("architecture")
    made = architecture.LanguageModel(
        architecture.Shape(
            vocabulary=WORDS, layers=LAYERS, width=WIDTH, heads=2, hidden=31, context=ROW
        )
    )
    for block in made.blocks:
        for layer in (block.merge, block.down):
            torch.nn.init.normal_(layer.weight, std=0.3)
    return made.eval().requires_grad_(False)


class _Rows:
    """Random text, the same for the same step."""

    def batch(self, step: int, size: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        return torch.randint(1, WORDS, (size, ROW), generator=generator)


def _dictionary(seed: int) -> Any:
    torch.manual_seed(seed)
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=WIDTH, d_sae=FEATURES))
    sae.W_dec.data = torch.randn(FEATURES, WIDTH)
    sae.W_enc.data = 0.2 * sae.W_dec.data.T.contiguous()
    sae.b_enc.data = 0.1 * torch.randn(FEATURES)
    sae.b_dec.data = 0.1 * torch.randn(WIDTH)
    sae.threshold.data = torch.full((FEATURES,), 0.3)
    return sae


def test_gradients_are_those_of_drawn_log_probabilities(pretrain: Any, model: Any) -> None:
    ids = _Rows().batch(0, 6)
    found = pretrain("effects").drawn_gradients(
        model, ids, SITES[:2], torch.Generator().manual_seed(3), chunk=7
    )
    final, gradients = found.final, found.gradients
    generator = torch.Generator().manual_seed(3)
    stream = found.streams[SITES[0]].clone().requires_grad_()
    after = stream
    for block in list(model.blocks)[1:]:
        after = block(after, False, lambda _site, activation: activation)
    log_shares = (model.ln_f(after) @ model.unembedding.T)[:, 1:].flatten(0, 1).log_softmax(-1)
    torch.testing.assert_close(model.ln_f(after), final)
    total, tokens = torch.zeros(()), []
    for part in torch.arange(len(log_shares)).split(7):
        logits = final[:, 1:].flatten(0, 1)[part] @ model.unembedding.T
        drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)
        total = total + log_shares[part].gather(1, drawn).sum()
        tokens.append(drawn[:, 0])
    (expected,) = torch.autograd.grad(total, stream)
    torch.testing.assert_close(gradients[SITES[0]], expected)
    assert torch.equal(found.drawn.flatten(), torch.cat(tokens))
    assert float(expected.abs().max()) > 0.1


def test_squared_effects_are_half_the_divergence(pretrain: Any, model: Any) -> None:
    """At second order; mean over draws, for a small error at the last position of every row."""
    effects = pretrain("effects")
    ids = _Rows().batch(1, 4).repeat(1500, 1)
    generator = torch.Generator().manual_seed(0)
    (site,) = SITES[-1:]
    found = effects.drawn_gradients(model, ids, [site], generator)
    streams, gradients = found.streams, found.gradients
    error = torch.zeros(4, ROW, WIDTH)
    error[:, -1] = 0.2 * torch.randn(4, WIDTH, generator=generator)
    squared = (gradients[site].view(1500, 4, ROW, WIDTH) * error).sum((2, 3)).square().mean(0)
    at = streams[site][:4]
    before, after = (
        (model.ln_f(x)[:, -1] @ model.unembedding.T).log_softmax(-1) for x in (at, at + error)
    )
    divergence = (before.exp() * (before - after)).sum(-1)
    torch.testing.assert_close(squared / 2, divergence, rtol=0.35, atol=1e-4)


def test_twins_differ_where_another_word_was_drawn(pretrain: Any) -> None:
    effects = pretrain("effects")
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, WORDS, (40, 23), generator=generator)
    drawn = torch.randint(1, WORDS, (40, 22), generator=generator)
    other, is_same = effects.twins(ids, drawn, generator, every=6)
    assert torch.equal(is_same, other == ids)
    assert is_same[:, :2].all()
    row, at = (~is_same).nonzero(as_tuple=True)
    assert torch.equal(other[row, at], drawn[row, at - 2])  # drawn[:, i] stands behind i + 1
    # Four places a row, of which some are the first two or keep their word.
    counts = (~is_same).sum(1)
    assert counts.max() == 4 and 3 < counts.float().mean() < 4


def test_what_a_dictionary_loses(pretrain: Any) -> None:
    joint = pretrain("joint")
    member = joint.TunedDictionary(_dictionary(1), active=9, scale=1.7).train()
    member.gate.follows = False
    torch.manual_seed(2)
    stream, gradient = torch.randn(5, 7, WIDTH) * 1.7, torch.randn(5, 7, WIDTH)
    written = member(stream)
    assert not member.lost
    member.lose(stream)
    assert set(member.lost) == {"variance"}
    member.lose(stream, gradient)
    sae = _dictionary(1)
    member.write_to(sae)
    torch.testing.assert_close(sae.decode(sae.encode(stream)), written)
    x, y = stream / 1.7, written / 1.7
    centred = x - x.flatten(0, 1).mean(0)
    variance = ((y - x).square().sum(-1) / centred.square().sum(-1)).mean()
    torch.testing.assert_close(member.lost["variance"], variance)
    effect = (gradient * (y - x)).sum(-1).square().sum() / (
        (gradient * centred).sum(-1).square().sum()
    )
    torch.testing.assert_close(member.lost["effect"], effect)
    is_on = (sae.encode(stream) > 0).float()
    change = x - x.roll(1, 0)
    passed = torch.einsum("brf,fd->brd", is_on * (change @ sae.W_enc), sae.W_dec)
    lost = (gradient * (change - passed)).sum(-1).square().sum()
    passing = lost / (gradient * change).sum(-1).square().sum()
    torch.testing.assert_close(member.lost["passing"], passing)
    assert passing.item() > 0.01


def test_what_a_dictionary_makes_of_a_change(pretrain: Any) -> None:
    member = pretrain("joint").TunedDictionary(_dictionary(1), active=9, scale=1.7).train()
    torch.manual_seed(2)
    x, gradient = torch.randn(5, 7, WIDTH), torch.randn(5, 7, WIDTH)
    other = x + 0.3 * torch.randn(5, 7, WIDTH)
    counted = torch.rand(5, 7) < 0.6
    threshold = float(member.gate.threshold)
    member.lose_change(x, other, gradient, counted)
    assert float(member.gate.threshold) == threshold
    passed, whole = torch.zeros(2, 5), torch.zeros(2, 5)
    with torch.no_grad():
        for row, at in counted.nonzero().tolist():
            change = (x - other)[row, at]
            kept = (member(x) - member(other))[row, at]
            effect, through = (float(gradient[row, at] @ one) for one in (change, kept))
            passed[:, row] += torch.tensor([float(change @ kept), effect * through])
            whole[:, row] += torch.tensor([float(change @ change), effect**2])
    weight = 1 / (whole + whole.mean(1, keepdim=True))
    slopes = (weight * passed).sum(1) / (weight * whole).sum(1)
    expected = (1 - slopes).square().sum()
    torch.testing.assert_close(member.lost["change"], expected)
    assert expected > 0.01


def test_features_that_are_never_on_are_put_where_something_is_missed(pretrain: Any) -> None:
    member = pretrain("joint").TunedDictionary(_dictionary(3), active=9).train()
    stream = torch.randn(8, 9, WIDTH)
    member.lose(stream)
    before = member.missed.square().sum().item()
    member.silent[[4, 30]] = 1000
    dead = member.revive(1000, torch.Generator().manual_seed(0))
    assert dead.tolist() == [4, 30] and not member.silent[[4, 30]].any()
    missed = -member.missed.flatten(0, 1)
    along = torch.nn.functional.cosine_similarity(
        missed[None], member.W_dec.data[dead][:, None], -1
    )
    torch.testing.assert_close(along.max(1).values, torch.ones(2))
    member.lose(stream)
    assert member.missed.square().sum().item() < before


@pytest.mark.parametrize("together", [False, True])
def test_a_run_that_was_stopped_goes_on_as_it_was(
    pretrain: Any, model: Any, tmp_path: Path, together: bool
) -> None:
    joint = pretrain("joint")
    recipe = joint.JointRecipe(
        tokens=8 * 128 * 4, batch_rows=4, active_first=12, active=8, report_every=3,
        revives_after=3,
        prices=joint.Prices(divergence=1, variance=1, effect=0.5, passing=0.5, change=0.5),
    )  # fmt: skip
    assert recipe.steps == 8

    def start(name: str) -> Any:
        saes = {site: _dictionary(seed) for seed, site in enumerate(SITES)}
        return joint.JointTraining(model, saes, recipe, tmp_path / name, together=together)

    whole = start("whole").run(_Rows())
    assert start("parts").run(_Rows(), lambda: True) is None
    assert start("parts").run(_Rows(), lambda: True) is None
    parts = start("parts").run(_Rows())
    for site in SITES:
        assert torch.equal(whole[site].W_enc, parts[site].W_enc)
        assert torch.equal(whole[site].threshold, parts[site].threshold)
        assert not torch.equal(whole[site].W_enc, _dictionary(SITES.index(site)).W_enc)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny random Llama as transformers saves it."""
    torch.manual_seed(6)
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=31, num_hidden_layers=LAYERS,
        num_attention_heads=3, num_key_value_heads=1, bos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def test_a_public_model_says_what_transformers_says(pretrain: Any, folder: Path) -> None:
    public = pretrain("public_model").PublicModel(folder).float()
    ids = _Rows().batch(0, 3)
    seen: dict[str, Tensor] = {}

    def tap(site: str, activation: Tensor) -> Tensor:
        seen[site] = activation
        return activation

    whole = LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).float()
    found = whole(ids, output_hidden_states=True)
    torch.testing.assert_close(public(ids, tap=tap), found.logits)
    assert list(seen) == ["blocks.0.hook_resid_pre", *SITES]
    torch.testing.assert_close(seen[SITES[0]], found.hidden_states[1])
    replaced = public(ids, tap=lambda site, x: torch.zeros_like(x) if site == SITES[-1] else x)
    assert float(replaced.abs().max()) == 0


def test_what_a_model_writes_itself_begins_as_a_prompt_does(pretrain: Any, folder: Path) -> None:
    public = pretrain("public_model").PublicModel(folder)
    text = pretrain("public_text")
    first, again = (text.own_rows(public, 5, seed=3, bos=1) for _ in range(2))
    assert first.shape == (5, text.ROW) and (first[:, 0] == 1).all()
    assert (first == again).all() and first.max() < WORDS


def test_text_of_a_public_model_is_the_same_from_any_step(pretrain: Any) -> None:
    text = pretrain("public_text")
    tokenizer = build_tokenizer(WORDS)
    stream = pretrain("rows").Texts(tokenizer, ["w1 w2 w3 w4 w5 w6 w7 w8"] * 60, bos=0)
    assert stream.stream[:10].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 0]

    def rows() -> Any:
        draws = {name: stream.rows for name in text.SHARES if name != "passages"}
        return text.PublicRows(tokenizer, draws, seed=7, bos=0)

    once = rows()
    batches = [once.batch(step, 256) for step in range(5)]
    assert torch.equal(rows().batch(4, 256), batches[4])
    assert not torch.equal(batches[0], batches[4])
    assert all((batch[:, 0] == 0).all() for batch in batches)


def test_docstrings_are_those_of_installed_packages(pretrain: Any) -> None:
    found = list(pretrain("public_text").docstrings(["sae_lens"]))
    assert len(found) > 20 and min(map(len, found)) >= 200
    assert any("Args:" in one for one in found)


def test_features_of_a_new_dictionary_leave_the_large_direction_to_one(pretrain: Any) -> None:
    recipes = pretrain("smollm2")
    start = pretrain("joint").JointRecipe(active_first=9)
    training = recipes.Training.__new__(recipes.Training)
    training.recipe = recipes.Recipe(features=FEATURES, start=start)
    torch.manual_seed(8)
    points = torch.randn(700, WIDTH)
    large = torch.zeros(WIDTH)
    large[3] = 1000.0
    points[:20] += large
    sae = training.new(SITES[0], points)
    rows = sae.W_dec.data
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(FEATURES))
    assert abs(rows[0, 3]) > 0.999
    assert rows[1:, 3].abs().max() < 0.1
    assert sae.W_enc.isfinite().all()


def test_every_stage_for_a_public_model_runs_and_goes_on(
    pretrain: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its weights are in bfloat16.
    monkeypatch.setattr(torch, "autocast", torch.amp.autocast_mode.autocast)
    build_tokenizer(WORDS).save_pretrained(folder)
    monkeypatch.setattr(pretrain("public_text").docstrings, "__defaults__", (["sae_lens"],))
    for name in ("corpus.txt", "corpus_valid.txt"):
        (tmp_path / name).write_text("<|endoftext|>".join(["w1 w2 w3 w4 w5 " * 9] * 40))
    stages, joint = pretrain("smollm2"), pretrain("joint")
    monkeypatch.setattr(stages, "_OWN_AT_ONCE", 8)
    small = {"tokens": 4 * 16 * 128, "active_first": 9, "active": 7, "report_every": 2}
    recipe = stages.Recipe(
        layers=(0, 2), features=FEATURES, own=16, held_out_rows=8,
        start=joint.JointRecipe(**small),
        together=joint.JointRecipe(**small, prices=joint.Prices(effect=0.3, change=0.1)),
    )  # fmt: skip

    def run(over: bool) -> Path:
        work = tmp_path / "work"
        stages.Training(folder, tmp_path, work, recipe).run(lambda: over, tmp_path / "out")
        return work

    stopped = run(over=True)
    assert not (stopped / "saes").exists() and not (stopped / "together").exists()
    saes = run(over=False) / "saes"
    assert sorted(path.name for path in saes.iterdir()) == [SITES[0], SITES[2]]
    sae = JumpReLUSAE.load_from_disk(saes / SITES[2])
    assert sae.cfg.metadata.hook_name == SITES[2] and sae.cfg.metadata.model_name == "smollm2"
    assert sae.W_enc.isfinite().all() and float(sae.threshold[0]) > 0
    logged = (tmp_path / "work" / "together" / "joint.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in logged] == [2, 4]
    assert set(json.loads(logged[0])) >= {"kl", "variance", "effect", "passing", "change"}
    check_published(tmp_path / "out", saes)


def check_published(out: Path, trained: Path) -> None:
    """What is shipped is what was trained, in half precision, and its manifest says what it is."""
    manifest = manifests.read(out)
    manifests.check_files(out, manifest)
    assert (manifest["name"], manifest["packaged"]) == ("smollm2", "smollm2")
    assert manifest["default_sites"] == [SITES[0], SITES[2]]
    for entry in manifest["dictionaries"]:
        stored = load_file(out / entry["path"] / "sae_weights.safetensors")
        wanted = load_file(trained / entry["hook_name"] / "sae_weights.safetensors")
        assert set(stored) == set(wanted)
        for name, weight in wanted.items():
            assert torch.equal(stored[name], weight.half())
        assert 0 < entry["mean_l0"] < FEATURES and entry["tokens"] == 2 * 4 * 16 * 128
        assert np.isfinite([entry["loss_recovered"], entry["fraction_variance_explained"]]).all()
    assert manifest["joint"]["kl"] > 0
    assert (out / "logs" / "together_joint.jsonl").exists()
