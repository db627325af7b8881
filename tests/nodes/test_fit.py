"""The fit of dictionaries: by its formula, against what is stated, and what is refused."""

from pathlib import Path

import pytest
import torch

from saecircuits.edges.attribute import attribute
from saecircuits.errors import DictionaryError
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.fit import measure_fit
from saecircuits.splicing import splice
from saecircuits.splicing.loading import load_model
from saecircuits.tasks import load_task
from tests.hub_cache import small_sae, write_gpt2
from tests.models import Toy, boot_again, fitted, random_sae

HOOK = "blocks.1.hook_resid_post"


def test_figures_by_hand(toy: Toy) -> None:
    experiment = Experiment(toy.model, toy.prompts, positions="each")
    tokens = toy.prompts.clean_tokens[:5]
    for fit, part in zip(measure_fit(experiment, n_prompts=5), toy.model.splices, strict=True):
        seen: list[torch.Tensor] = []
        point = toy.model.bridge.hook_dict[fit.site].name
        with toy.model.bridge.hooks(fwd_hooks=[(point, lambda x, hook: seen.append(x.detach()))]):  # noqa: B023
            toy.model.bridge(tokens)
        written = seen[0][:, 1:].flatten(0, 1)  # the first token is BOS
        acts = part.dictionary.encode(written)
        error = written - part.dictionary.decode(acts)
        spread = sum(written[:, column].var(correction=0) for column in range(written.shape[1]))
        expected = 1 - error.square().sum() / (spread * len(written))
        assert fit.variance_explained == pytest.approx(float(expected), rel=1e-9)
        assert fit.l0 == pytest.approx(float((acts != 0).sum(1).double().mean()))
        assert fit.tokens == len(written)


@pytest.fixture
def place(tmp_path: Path, task_file: Path) -> Path:
    """A model, a SAE that fits it, and one of random numbers."""
    write_gpt2(tmp_path / "model", n_layer=2)
    bridge = boot_again(tmp_path / "model")
    fitted(small_sae(HOOK, seed=1), bridge, HOOK).save_model(tmp_path / "right" / "sae")
    small_sae(HOOK, seed=1).save_model(tmp_path / "wrong" / "sae")
    (tmp_path / "task.jsonl").write_bytes(task_file.read_bytes())
    return tmp_path


def test_less_than_nothing_is_refused_unless_insisted_on(place: Path) -> None:
    right = load_model(place / "model", dictionaries=place / "right")
    prompts = load_task(place / "task.jsonl", right).train
    (fit,) = attribute(right, prompts, positions="sum", max_nodes=5).summary["fit"]
    assert 0.3 < fit["variance_explained"] < 1
    wrong = load_model(place / "model", dictionaries=place / "wrong")
    with pytest.raises(DictionaryError, match=rf"{HOOK}' explains -\d.*less than the mean would"):
        attribute(wrong, prompts, positions="sum", max_nodes=5)
    insisted = load_model(place / "model", dictionaries=place / "wrong", insist=True)
    graph = attribute(insisted, prompts, positions="sum", max_nodes=5)
    assert graph.summary["fit"][0]["variance_explained"] < 0
    assert graph.provenance["insisted"] == []


def test_who_splices_by_hand_insists(place: Path) -> None:
    bridge = boot_again(place / "model")
    model = splice(bridge, {HOOK: random_sae("standard", d_in=16, dtype="float32")})
    prompts = load_task(place / "task.jsonl", model).train
    graph = attribute(model, prompts, positions="sum", max_nodes=5)
    assert graph.summary["fit"][0]["variance_explained"] < 0


def test_stated_figures_stand_beside_the_measured(model_folder: Path, task_file: Path) -> None:
    model = load_model(model_folder)
    prompts = load_task(task_file, model).train
    for fit in measure_fit(Experiment(model, prompts, positions="sum")):
        assert (fit.stated_variance_explained, fit.stated_l0) == (0.5, 3.0)
