"""What the pretended devices refuse and let through is what a GPU refuses and lets through."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from saecircuits.splicing import devices
from tests.pretended import Pretended, pretending


def _there(*shape: int) -> Tensor:
    return torch.ones(*shape, device="cuda:0")


def _index() -> Tensor:
    return torch.tensor([0, 1])


# Mistakes that fake tensors without numbers know as well.
MIXED: dict[str, Callable[[], Any]] = {
    "a sum": lambda: _there(3) + torch.ones(3),
    "a product": lambda: _there(3, 2) @ torch.ones(2, 3),
    "index_select by an index of the CPU": lambda: _there(3, 2).index_select(0, _index()),
    "gather": lambda: _there(3, 2).gather(0, torch.zeros(1, 2, dtype=torch.long)),
    "scatter": lambda: _there(3).scatter(0, _index(), 1.0),
    "searchsorted": lambda: torch.searchsorted(_there(3), torch.ones(2)),
    "cat": lambda: torch.cat([_there(3), torch.ones(2)]),
    "where": lambda: torch.where(torch.ones(3) > 0, _there(3), 0.0),
    "einsum": lambda: torch.einsum("ij,jk->ik", _there(2, 3), torch.ones(3, 2)),
    "an embedding": lambda: torch.nn.functional.embedding(_index(), _there(3, 2)),
    "two GPUs": lambda: _there(2) + torch.ones(2, device="cuda:1"),
}
# Mistakes that need numbers, or that fake tensors do not look for (index_add: those of torch 2.6).
OTHERS: dict[str, Callable[[], Any]] = {
    "index_add": lambda: _there(3).index_add(0, _index(), _there(2)),
    "numpy": lambda: _there(3).numpy(),
    "numpy's asarray": lambda: np.asarray(_there(3)),
    "an index on the GPU of a tensor on the CPU": lambda: torch.ones(3)[_there(2).long()],
    "values of the CPU put at an index": lambda: _there(3).index_put((_index(),), torch.ones(2)),
    "a mask on the GPU of a tensor on the CPU": lambda: torch.ones(3)[_there(3) > 0],
    "stack with a number of the CPU": lambda: torch.stack([_there(3).sum(), torch.tensor(1.0)]),
    "a generator of the CPU": lambda: torch.rand(2, generator=torch.Generator(), device="cuda:0"),
    "sparse indices of the CPU": lambda: torch.sparse_coo_tensor(
        torch.zeros(2, 1, dtype=torch.long), _there(1), (2, 2), check_invariants=False
    ),
}
MISTAKES = {**MIXED, **OTHERS}
# What a GPU takes, on a device by name.
TAKEN: dict[str, Callable[[str], Tensor]] = {
    "an index of the CPU in brackets": lambda at: torch.ones(3, device=at)[_index()],
    "a mask of the CPU in brackets": lambda at: torch.ones(3, device=at)[torch.ones(3) > 0],
    "a list in brackets": lambda at: torch.ones(3, 2, device=at)[:, [1, 0, 1]],
    "an array in brackets": lambda at: torch.arange(3, device=at)[np.array([2, 0])],
    "a number of the CPU": lambda at: torch.ones(3, device=at) * torch.tensor(2.0),
    "a number of the CPU where a mask says": lambda at: torch.arange(3.0, device=at).masked_fill(
        torch.arange(3, device=at) > 0, torch.tensor(7.0)
    ),
    "a copy into it": lambda at: torch.ones(3, device=at).copy_(torch.arange(3)),
    "like another": lambda at: torch.arange(3).to(torch.ones(1, device=at)),
    "new from it": lambda at: torch.ones(1, device=at).new_tensor([1.0, 2.0]),
    "a draw of the CPU, moved": lambda at: torch.rand(3, generator=torch.Generator()).to(at),
    "from an array": lambda at: torch.as_tensor(np.arange(3), device=at),
    "one hot": lambda at: torch.nn.functional.one_hot(torch.arange(3, device=at), 4),
    "a module": lambda at: torch.nn.Linear(2, 2).to(at)(torch.ones(1, 2, device=at)).detach(),
    "a batch of gradients": lambda at: _gradients(at),
    "sparse times dense": lambda at: torch.eye(3, device=at).to_sparse() @ torch.ones(3, device=at),
    "a vector times a matrix": lambda at: torch.ones(2, device=at) @ torch.ones(2, 3, device=at),
    "a shape changed in place": lambda at: torch.ones(1, 2, device=at).squeeze_(0).unsqueeze_(1),
    "written in place through a view": lambda at: _written(at),
}


def _gradients(at: str) -> Tensor:
    x = torch.arange(3.0, device=at).requires_grad_()
    vectors = torch.eye(3, device=at)
    return torch.autograd.grad(x.sin(), x, grad_outputs=vectors, is_grads_batched=True)[0]


def _written(at: str) -> Tensor:
    x = torch.zeros(3, 2, device=at)
    x[1:].add_(1)[:, 0] *= 5
    return x


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_refused(mistake: str) -> None:
    with pretending("cuda:0"), pytest.raises((RuntimeError, TypeError)):
        MISTAKES[mistake]()


@pytest.mark.parametrize("mistake", MIXED)
def test_fake_tensors_refuse_the_same(mistake: str) -> None:
    with FakeTensorMode(), pytest.raises(RuntimeError):
        MIXED[mistake]()


@pytest.mark.parametrize("what", TAKEN)
def test_what_a_gpu_takes_is_taken_and_computed(what: str) -> None:
    torch.manual_seed(0)
    expected = TAKEN[what]("cpu")
    torch.manual_seed(0)
    with pretending("cuda:0"):
        found = TAKEN[what]("cuda:0")
        assert isinstance(found, Pretended)
        assert (found.device, found.is_cuda, found.is_cpu) == (torch.device("cuda", 0), True, False)
        there = found.cpu()
    assert type(there) is Tensor
    assert found.shape == there.shape == expected.shape
    torch.testing.assert_close(there, expected, rtol=0, atol=0)


def test_mps_has_no_float64() -> None:
    with pretending("mps:0"):
        x = torch.ones(3, device="mps:0")
        assert x.device.type == "mps"
        for wide in (
            lambda: x.double(),
            lambda: torch.ones(2, dtype=torch.float64, device="mps:0"),
            lambda: x.cpu().double().to(x.device),
        ):
            with pytest.raises(TypeError, match="no float64"):
                wide()
        assert x.cpu().double().dtype is torch.float64


def test_nothing_is_pretended_afterwards() -> None:
    if torch.cuda.is_available():
        return
    with pretending("cuda:0"):
        assert torch.ones(1, device="cuda:0").is_cuda
        assert devices.devices_here() == ("cpu", "cuda:0")
    assert devices.devices_here() == ("cpu",)
    with pytest.raises((RuntimeError, AssertionError)):
        torch.ones(1, device="cuda")
