"""The shipped model: its files, its figures, and circuits found in it."""

from pathlib import Path

import pytest

import saecircuits as sc
from saecircuits.splicing.loading import read_manifest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def model() -> sc.SplicedModel:
    return sc.load_model("stories")


def test_every_kind_of_dictionary_is_there() -> None:
    entries = read_manifest("stories")["dictionaries"]
    written = {
        (entry["kind"], entry.get("hook_name_out") or entry["hook_name"]) for entry in entries
    }
    expected = {("sae", "blocks.0.hook_resid_pre")}
    for layer in range(4):
        for kind in ("resid_post", "attn_out", "mlp_out"):
            expected.add(("sae", f"blocks.{layer}.hook_{kind}"))
        expected.add(("transcoder", f"blocks.{layer}.hook_mlp_out"))
    assert written == expected


def test_it_is_small_enough_to_travel() -> None:
    folder = ROOT / "pretrained"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < 60e6


@pytest.mark.parametrize("sites", ["resid_post", "attn_out", "mlp_out", "resid_pre", "transcoder"])
def test_every_dictionary_loads_and_is_sparse(sites: str) -> None:
    import torch

    from saecircuits.splicing import observe

    model = sc.load_model("stories", sites=sites)
    tokens = sc.load_task("agreement", model, limit=4).train.clean_tokens
    for site in observe(model, tokens).sites:
        active = (site.features[:, 1:] > 0).float().sum(-1)
        assert 0 < active.mean() < 100
        assert torch.isfinite(site.error).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", sc.task_names("stories"))
def test_the_model_solves_the_task(name: str, model: sc.SplicedModel) -> None:
    import torch

    from saecircuits.tasks import last_position_logits, logit_difference

    task = sc.load_task(name, model)
    assert len(task.train) >= 100
    assert len(task.test) >= 100
    with torch.no_grad():
        logits = model.forward(task.test.clean_tokens)
    final = last_position_logits(logits, task.test.clean_lengths)
    assert (logit_difference(final, task.test) > 0).float().mean() >= 0.9


@pytest.mark.slow
def test_a_circuit_of_300_nodes_is_faithful_on_held_out_prompts(model: sc.SplicedModel) -> None:
    # A third of the prompts, to be quick; docs/results.md has the figures on all of them.
    task = sc.load_task("pronoun", model, limit=40)
    graph = sc.attribute(model, task.train, max_nodes=10)
    report = sc.validate(model, sc.prune(graph, nodes=300), task.test)
    assert report.faithfulness > 0.8
    median = report.random["median"]
    assert median is not None and abs(median) < 0.1
    assert abs(report.completeness) < 0.2
