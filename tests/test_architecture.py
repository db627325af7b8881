"""The floors of the package: imports point down, and one floor alone knows the libraries below."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "saecircuits"
# From the ground up. A floor may import its own modules and everything before it.
FLOORS = (
    ("errors", "shapes", "torch_state"),
    ("kinds", "memory_limit", "new_file", "progress", "schema", "shown_text"),
    ("choices",),
    ("theory",),
    ("tasks",),
    ("splicing",),
    ("expansion", "heads"),
    ("nodes",),
    ("edges",),
    ("circuits",),
    ("validation",),
    ("nonlinearity",),
    ("features",),
    ("runs",),
    ("interchange",),
    ("publication",),
    ("discovery",),
    ("__init__",),  # the contents page: the public names, looked up when first used
    ("cli",),
    ("__main__",),
)
ROOMS = ("features", "runs", "interchange", "publication")
LIBRARIES_OF_SPLICE = {"transformer_lens", "sae_lens"}
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}


def _module(path: Path) -> str:
    parts = ("saecircuits", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_module(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _imports(module: str) -> Iterator[str]:
    """Full names of everything that a module imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively; write the full name"
            # What is imported from a package may itself be a module.
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in FILES else str(node.module)


def _floor(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _own(module: str) -> set[str]:
    """What a module imports from the package itself."""
    return {name for name in _imports(module) if name.split(".")[0] == "saecircuits"}


def _edges() -> dict[str, set[str]]:
    """Module to the modules of the package that it imports."""
    return {module: _own(module) & set(FILES) for module in FILES}


def test_every_module_is_on_a_floor() -> None:
    assert {_floor(module) for module in FILES} <= set(LEVEL)
    for name in ("errors", "tasks", "splicing", "nodes", "edges", "circuits"):
        assert any(_floor(module) == name for module in FILES), f"nothing on floor {name}"


def test_imports_name_modules_that_exist() -> None:
    for module in FILES:
        assert _own(module) <= set(FILES), f"{module} imports {sorted(_own(module) - set(FILES))}"


def test_imports_point_down() -> None:
    upwards = [
        f"{module} -> {target}"
        for module, targets in _edges().items()
        for target in targets
        if LEVEL[_floor(target)] > LEVEL[_floor(module)]
        or (LEVEL[_floor(target)] == LEVEL[_floor(module)] and _floor(target) != _floor(module))
    ]
    assert upwards == []


def test_no_two_packages_import_each_other() -> None:
    """Also inside a floor: a package is imported by its neighbours or imports them, never both."""
    packages = {module for module, path in FILES.items() if path.name == "__init__.py"}

    def chain(module: str) -> list[str]:
        """The packages that a module lies in, without the whole."""
        parts = module.split(".")
        names = [".".join(parts[:stop]) for stop in range(2, len(parts) + 1)]
        return [name for name in names if name in packages]

    pairs = {
        (one, other)
        for module, targets in _edges().items()
        for target in targets
        for one in chain(module)
        for other in chain(target)
        if not f"{one}.".startswith(f"{other}.") and not f"{other}.".startswith(f"{one}.")
    }
    assert {pair for pair in pairs if pair[::-1] in pairs} == set()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_shares_no_name_of_a_file(room: str) -> None:
    """What lies in a room is called like nothing else in the package."""
    names: dict[str, set[str]] = {}
    for module in FILES:
        names.setdefault(module.rpartition(".")[2], set()).add(module)
    own = {module.rpartition(".")[2] for module in FILES if _floor(module) == room} - {room}
    assert {name: names[name] for name in own if len(names[name]) > 1} == {}


def test_no_two_modules_import_each_other() -> None:
    edges = _edges()
    pairs = {
        tuple(sorted((module, target)))
        for module, targets in edges.items()
        for target in targets
        if module in edges[target]
    }
    assert pairs == set()


@pytest.mark.parametrize("library", sorted(LIBRARIES_OF_SPLICE))
def test_one_floor_alone_imports(library: str) -> None:
    users = {
        _floor(module)
        for module in FILES
        if any(name.split(".")[0] == library for name in _imports(module))
    }
    assert users <= {"splicing"}


def test_theory_is_torch_alone() -> None:
    for module in (name for name in FILES if _floor(name) == "theory"):
        assert {_floor(name) for name in _own(module)} <= {"errors", "shapes", "theory"}, module
