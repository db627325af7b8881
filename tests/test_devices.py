"""No tensor is made without saying where: a law on the source, for a GPU that is not here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "saecircuits"
# What makes a tensor out of no tensor.
FACTORIES = {
    "arange",
    "as_tensor",
    "asarray",
    "blackman_window",
    "empty",
    "empty_strided",
    "eye",
    "full",
    "hann_window",
    "linspace",
    "logspace",
    "normal",
    "ones",
    "rand",
    "randint",
    "randn",
    "randperm",
    "range",
    "scalar_tensor",
    "tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
}
# Sparse tensors lie where their values do, if these are a tensor.
SPARSE = {"sparse_coo_tensor", "sparse_csr_tensor"}
# These cannot say it: `as_tensor(..., device=...)` does what they do.
NAMELESS = {
    "BoolTensor",
    "DoubleTensor",
    "FloatTensor",
    "IntTensor",
    "LongTensor",
    "Tensor",
    "from_dlpack",
    "from_numpy",
    "frombuffer",
}
MODULES = {"torch", "torch.sparse"}


def _names(tree: ast.AST) -> dict[str, str]:
    """What torch's modules and functions are called in a file: local name to full name."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "torch":
                    names[alias.asname or "torch"] = alias.name if alias.asname else "torch"
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _full_name(node: ast.expr, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        inner = _full_name(node.value, names)
        return None if inner is None else f"{inner}.{node.attr}"
    return None


def _nowhere(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of everything in a file that makes a tensor without saying where."""
    tree = ast.parse(source)
    names = _names(tree)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        is_call = isinstance(node, ast.Call)
        if not is_call and (not isinstance(node, ast.Name | ast.Attribute) or id(node) in called):
            continue
        module, _, name = (_full_name(node.func if is_call else node, names) or "").rpartition(".")
        if module not in MODULES:
            continue
        if not is_call:
            # Handed on, as in map(torch.tensor, rows), a factory is called where nobody looks.
            is_wrong = name in FACTORIES | NAMELESS - {"Tensor"}
        else:
            says = {keyword.arg for keyword in node.keywords}
            values = node.args[1:2] + [k.value for k in node.keywords if k.arg == "values"]
            is_wrong = name in NAMELESS or (
                "device" not in says
                and (name in FACTORIES or (name in SPARSE and not _are_tensors(values)))
            )
        if is_wrong:
            yield node.lineno, ast.unparse(node)


def _are_tensors(values: list[ast.expr]) -> bool:
    return bool(values) and not isinstance(values[0], ast.List | ast.Tuple | ast.Constant)


def test_every_tensor_says_where_it_is_made() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, text in _nowhere(path.read_text(encoding="utf-8"))
    ]
    assert found == [], "give device=, or make it from a tensor (new_zeros, zeros_like, ...)"


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.tensor([1])",
        "import torch as t\nt.tensor([1], dtype=t.int64)",
        "from torch import tensor\ntensor([1])",
        "from torch import arange as count\ncount(3)",
        "def f():\n    import torch\n    return torch.zeros(2).to('cuda')",
        "import torch.nn\nx = [torch.eye(3) for _ in range(2)]",
        "import torch\nx = list(map(torch.tensor, [[1], [2]]))",
        "import torch\nx = torch.randperm(3, generator=g)",
        "import torch\nx = torch.from_numpy(a).to(y)",
        "import torch\nx = torch.LongTensor([1])",
        "import torch\nx = torch.sparse_coo_tensor([[0], [0]], [1.0], (2, 2))",
        "import torch\nx = torch.sparse_coo_tensor(size=(2, 2))",
        "import torch\nx: 'int' = torch.full((2,), 0.0)[torch.ones(2) > 0]",
    ],
)
def test_a_tensor_made_nowhere_is_seen(source: str) -> None:
    assert len(list(_nowhere(source))) >= 1


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.tensor([1], device='cpu')",
        "import torch\nx = torch.zeros_like(y)",
        "import torch\nx = y.new_tensor([1])",
        "import torch\nx = torch.sparse_coo_tensor(torch.stack([a, b]), values, (2, 2))",
        "import numpy as np\nx = np.zeros(3)",
        "from torch import Tensor\ndef f(x: Tensor) -> Tensor: ...",
        "import torch\ndef f(x: torch.Tensor) -> torch.Tensor: ...",
        "def tensor(x): ...\ntensor([1])",
    ],
)
def test_a_tensor_made_somewhere_is_let_pass(source: str) -> None:
    assert list(_nowhere(source)) == []
