"""What the caller has switched on or off in torch changes no result, and is left as it was."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import saecircuits as sc
from saecircuits.torch_state import own_state
from tests.models import build_bridge, random_sae

HOOK = "blocks.1.hook_resid_post"


@contextmanager
def _gradients_off_for_good() -> Iterator[None]:
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    yield
    torch.set_grad_enabled(before)


@contextmanager
def _all_at_once() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with (
        torch.inference_mode(),
        torch.device("meta"),
        torch.autocast("cpu", dtype=torch.bfloat16),
    ):
        yield
    torch.set_default_dtype(before)


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "gradients off": _gradients_off_for_good,
    "inference mode, autocast, other defaults": _all_at_once,
}


def _seen() -> tuple[Any, ...]:
    """The caller's state."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_float32_matmul_precision(),
    )


def _found(folder: Path, task_file: Path) -> dict[str, Any]:
    """What every public function that computes with torch finds; model and prompts made anew."""
    model = sc.load_model(folder)
    task = sc.load_task(task_file, model, limit=4)
    ways: dict[str, dict[str, Any]] = {
        "factorised": {"max_nodes": 8},
        "reference": {"max_nodes": 8, "engine": "reference"},
        "intervention": {"max_nodes": 4, "estimator": "intervention"},
    }
    graphs = {name: sc.attribute(model, task.train, **way) for name, way in ways.items()}
    found: dict[str, Any] = {}
    for name, graph in graphs.items():
        found |= {f"{name}, nodes": graph.nodes, f"{name}, edges": graph.edges}
    graph, circuit = graphs["factorised"], sc.prune(graphs["factorised"], nodes=4)
    for method in ("effect", "greedy", "masks"):
        found[method] = sc.prune(graph, faithfulness=0.3, method=method).nodes
    prompt = "w1 w2 w3"
    return {
        **found,
        "validate": sc.validate(model, circuit, task.test, n_random=2).to_json(),
        "calibrate": sc.calibrate(model, graph, task.train, n_nodes=3, n_edges=3),
        "paths": sc.paths(graph, k=3).to_json(),
        "path_degrees": sc.path_degrees(graph),
        "expand": sc.expand(model, prompt).terms,
        "treeify": sc.treeify(model, prompt).paths(limit=20).to_json(),
        "attention": sc.attention(model, prompt, 1, 0).keys,
        "composition": sc.composition(model),
        "interactions": sc.interactions(model, task.test, circuit.members[:2]).to_json(),
        "linearity": sc.linearity(model, task.test).to_json(),
        "hypotheses": sc.hypotheses(model, circuit, task.test, n_random=19).tests,
        "baselines": sc.baselines(model, task, sizes=[1, 2], kinds=["features"]).curve,
    }


@pytest.fixture(scope="module")
def expected(model_folder: Path, task_file: Path) -> dict[str, Any]:
    return _found(model_folder, task_file)


def _assert_same(what: str, found: Any, expected: Any) -> None:
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected, check_exact=True, obj=what)
    elif isinstance(expected, torch.Tensor):
        torch.testing.assert_close(found, expected, rtol=0, atol=0, msg=what)
    else:
        assert repr(found) == repr(expected), what


@pytest.mark.parametrize("state", STATES)
def test_results_do_not_depend_on_the_callers_state(
    state: str, model_folder: Path, task_file: Path, expected: dict[str, Any]
) -> None:
    with STATES[state]():
        before = _seen()
        found = _found(model_folder, task_file)
        assert _seen() == before
    for what, value in expected.items():
        _assert_same(what, found[what], value)


@pytest.mark.parametrize("state", STATES)
def test_the_callers_state_is_back_after_an_error(state: str, task_file: Path) -> None:
    with STATES[state]():
        before = _seen()
        with pytest.raises(sc.InputError):
            sc.load_task(task_file, sc.load_model("no such model"))
        with pytest.raises(KeyError), own_state():
            raise KeyError
        assert _seen() == before


def test_dictionaries_made_in_inference_mode_are_taken(tmp_path: Path) -> None:
    bridge = build_bridge(tmp_path)
    expected = sc.splice(bridge, {HOOK: random_sae("jumprelu")})
    with torch.inference_mode():
        sae = random_sae("jumprelu")
        assert next(sae.parameters()).is_inference()
        found = sc.splice(bridge, {HOOK: sae}, is_copied=False)
    dictionary = found.splices[0].dictionary
    assert not dictionary.W_enc.is_inference()
    assert dictionary.digest() == expected.splices[0].dictionary.digest()


def test_a_model_made_in_inference_mode_is_refused(tmp_path: Path) -> None:
    with torch.inference_mode():
        bridge = build_bridge(tmp_path)
    with pytest.raises(sc.InputError, match=r"inside torch.inference_mode.*load it outside"):
        sc.splice(bridge, {HOOK: random_sae("jumprelu")})
