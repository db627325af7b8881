"""The same code on a GPU: results equal to the CPU's. Skipped where there is none."""

import pandas as pd
import pytest
import torch

import saecircuits as sc
from tests.test_pretended import MISTAKES, TAKEN

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_products_are_not_rounded_to_tf32() -> None:
    from saecircuits.torch_state import own_state

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with own_state():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@needs_gpu
@pytest.mark.parametrize("estimator", ["gradient", "integrated_gradients"])
def test_graphs_on_both_devices_agree(estimator: str) -> None:
    graphs = []
    for device in ("cpu", "cuda"):
        model = sc.load_model("stories", device=device)
        task = sc.load_task("pronoun", model, limit=8)
        graphs.append(sc.attribute(model, task.train, estimator=estimator, max_nodes=100))
    for name, keys in (("nodes", ["node"]), ("edges", ["source", "target"])):
        both = pd.merge(*(getattr(graph, name) for graph in graphs), on=keys, how="outer")
        size = both["effect_x"].abs().max()
        assert (both["effect_x"].fillna(0) - both["effect_y"].fillna(0)).abs().max() < 1e-4 * size
        assert len(both) > 50


@needs_gpu
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_gpu_refuses_what_a_pretended_one_does(mistake: str) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        MISTAKES[mistake]()


@needs_gpu
@pytest.mark.parametrize("what", TAKEN)
def test_a_gpu_takes_what_a_pretended_one_does(what: str) -> None:
    torch.manual_seed(0)
    expected = TAKEN[what]("cpu")
    torch.manual_seed(0)
    torch.testing.assert_close(TAKEN[what]("cuda").cpu(), expected)
