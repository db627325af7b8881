"""Whatever is given by mistake is refused in one sentence that says what would be right."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformer_lens import HookedTransformer, HookedTransformerConfig

import saecircuits as sc
from saecircuits.kinds import checked
from saecircuits.tasks import Task
from tests.models import Toy, build_bridge, random_sae

FUNCTIONS = [name for name in sc.__all__ if not inspect.isclass(getattr(sc, name))]
# The package as a caller without a type checker meets it.
untyped: Any = sc
# These take whatever can be read, or nothing.
OTHERS = {"splice", "model_names", "task_names"}


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - OTHERS))
def test_every_public_function_looks_at_what_it_is_given(name: str) -> None:
    function = getattr(sc, name)
    required = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ] or ["name_or_folder"]
    is_many = required[0] == "circuits"
    with pytest.raises(sc.InputError, match=f"{name} was given an object as {required[0]}"):
        if is_many:
            function(object(), object())
        else:
            function(**{each: object() for each in required})


@pytest.fixture(scope="module")
def task(toy: Toy) -> Task:
    half = toy.prompts.subset(range(2))
    return Task("toy", "pairs", half, half)


@pytest.fixture(scope="module")
def graph(toy: Toy) -> sc.AttributionGraph:
    return sc.attribute(toy.model, toy.prompts, max_nodes=5)


def test_a_task_in_the_place_of_prompts(toy: Toy, task: Task, graph: sc.AttributionGraph) -> None:
    circuit = sc.prune(graph, nodes=2)
    calls = [
        lambda: untyped.attribute(toy.model, task),
        lambda: untyped.validate(toy.model, circuit, task),
        lambda: untyped.calibrate(toy.model, graph, task),
        lambda: untyped.linearity(toy.model, prompts=task),
    ]
    for call in calls:
        with pytest.raises(
            sc.InputError, match=r"given a Task of saecircuits as prompts.*give task"
        ):
            call()
    with pytest.raises(sc.InputError, match=r"as task; it takes a task.*the task that they are of"):
        untyped.baselines(toy.model, task.train)


def test_what_is_no_spliced_model(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(sc.InputError, match=r"a TransformerBridge.*give splice\(bridge, dict"):
        sc.attribute(toy.model.bridge, toy.prompts)
    for name in ("stories", tmp_path):
        with pytest.raises(sc.InputError, match=r"as model; it takes a spliced.*load_model\(...\)"):
            untyped.composition(name)
    with pytest.raises(sc.InputError, match="as reader; it takes a spliced model"):
        sc.load_task("pronoun", toy.model.bridge)
    with pytest.raises(sc.InputError, match=r"given a list as name_or_path.*JSON lines"):
        untyped.load_task([{"clean": "a"}], toy.model)
    with pytest.raises(sc.InputError, match=r"an AttributionGraph.*prune\(graph, nodes"):
        untyped.compare(sc.attribute(toy.model, toy.prompts, max_nodes=3))


def test_what_is_missing_is_for_python_to_say(toy: Toy) -> None:
    with pytest.raises(TypeError, match="missing"):
        untyped.validate(toy.model)
    with pytest.raises(sc.InputError, match="given a model and no prompts; give both"):
        sc.attribute(toy.model)


def test_what_is_no_class_is_left_to_the_function() -> None:
    def count(path: Path, some: list[int], word: str, often: int | None = None) -> int:
        return len(some)

    assert checked(count)(Path(), (1, 2), 3) == 2
    with pytest.raises(sc.InputError, match="count was given None as path; it takes a path"):
        checked(count)(None, [], "word")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    build_bridge(folder)
    return folder


def _hooked() -> Any:
    settings = HookedTransformerConfig(
        n_layers=1, d_model=14, n_ctx=9, d_head=7, d_mlp=29, d_vocab=23, act_fn="gelu", device="cpu"
    )
    return HookedTransformer(settings)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_no_bridge(toy: Toy, folder: Path) -> None:
    alone = transformers.AutoModelForCausalLM.from_pretrained(folder)
    sae = {"blocks.1.hook_resid_post": random_sae("standard")}
    for given, advice in (
        (alone, r"a GPT2LMHeadModel of transformers.*hf_model=model, tokenizer=tokenizer"),
        (str(folder), "a str as bridge.*of that name or folder, or use load_model"),
        (folder, "Path as bridge.*of that name or folder, or use load_model"),
        (_hooked(), r"weights are processed.*boot_transformers\(name\)"),
        (toy.model, "spliced already; give model.bridge"),
        (3, r"an int as bridge.*give TransformerBridge.boot_transformers\(...\)"),
    ):
        with pytest.raises(sc.InputError, match=advice):
            sc.splice(given, sae)
    with pytest.raises(
        sc.InputError,
        match="given a list as dictionaries; it takes a dict or a cross-layer transcoder",
    ):
        untyped.splice(toy.model.bridge, list(sae.values()))


def test_what_is_no_dictionary(toy: Toy, tmp_path: Path) -> None:
    sae = random_sae("standard")
    for given, advice in (
        ((sae, {}, None), "is a tuple, which sae_lens.*its first entry"),
        (dict(sae.state_dict()), "is a dict, which has no settings; give the SAE itself"),
        (torch.nn.Linear(14, 31), "is a Linear of torch; give a SAE or transcoder of sae_lens"),
        (tmp_path, r"give SAE.load_from_disk\(folder\)"),
        (None, "is None; give a SAE"),
    ):
        with pytest.raises(sc.InputError, match=advice):
            sc.splice(toy.model.bridge, {"blocks.1.hook_resid_post": given})


def test_no_tokenizer(tmp_path: Path) -> None:
    bridge = build_bridge(tmp_path)
    model = sc.splice(bridge, {"blocks.1.hook_resid_post": random_sae("standard")}, name="mute")
    bridge.tokenizer = None
    with pytest.raises(sc.InputError, match=r"'mute' has no tokenizer.*set bridge.tokenizer"):
        sc.load_task("pronoun", model)
    with pytest.raises(sc.InputError, match="has no tokenizer"):
        sc.attention(model, "w1 w2", 0, 0)
