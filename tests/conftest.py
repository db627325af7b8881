"""Random models with unequal prime sizes, their dictionaries and prompts: what the laws run on."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests run side by side: threads of their own and of the processes that they start would only wait
# for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
import torch

from tests.cross_layer import cross_layer_toy
from tests.found import found as found
from tests.model_folder import write_model_folder, write_task
from tests.models import (
    Toy,
    build_gemma2,
    build_llama,
    build_places_toy,
    build_rotary_toy,
    build_toy,
    build_unusual_toy,
    uneven_prompts,
)
from tests.packed import packed as packed
from tests.packed import packed_site as packed_site

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A random GPT-2 in float64 with a dictionary at every residual site."""
    return build_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def toy_mixed(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """The same with SAEs at every kind of site and a skip transcoder."""
    return build_toy(tmp_path_factory.mktemp("toy_mixed"), mixed=True)


@pytest.fixture(scope="session")
def toy_unusual(toy: Toy) -> Toy:
    """The first toy's model with dictionaries that normalise, or whose features have signs."""
    return build_unusual_toy(toy.model.bridge)


@pytest.fixture(scope="session")
def toy_places(toy: Toy) -> Toy:
    """The first toy's model with dictionaries of embeddings and of streams before MLPs."""
    return build_places_toy(toy.model.bridge)


@pytest.fixture(scope="session")
def toy_uneven(toy: Toy) -> Toy:
    """The first toy's model with prompts of unequal lengths and spans."""
    return Toy(model=toy.model, prompts=uneven_prompts(toy.model.bridge))


@pytest.fixture(scope="session")
def toy_crossing(toy: Toy) -> Toy:
    """The first toy's model with a cross-layer transcoder."""
    return cross_layer_toy(toy.model.bridge, "hook_resid_mid", seed=9)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A random Llama in float64 with a dictionary at every kind of site."""
    bridge = build_llama(tmp_path_factory.mktemp("llama"))
    return build_rotary_toy(bridge, d_model=20, d_heads=24)


@pytest.fixture(scope="session")
def gemma2(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A random Gemma 2 in float64 with a dictionary at every kind of site."""
    bridge = build_gemma2(tmp_path_factory.mktemp("gemma2"))
    return build_rotary_toy(bridge, d_model=28, d_heads=24)


@pytest.fixture(params=["toy", "toy_mixed"])
def each_toy(request: pytest.FixtureRequest) -> Toy:
    """Residual sites only, then every kind of site."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["toy_mixed", "llama", "gemma2"])
def each_family(request: pytest.FixtureRequest) -> Toy:
    """Every kind of site, on each architecture."""
    return request.getfixturevalue(request.param)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with dictionaries as a folder that `--model` takes; nobody writes to it."""
    return write_model_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompt pairs for that model, as a file; nobody writes to it."""
    return write_task(tmp_path_factory.mktemp("tasks") / "words.jsonl")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that does not exist yet."""
    return tmp_path / "run"
