"""Small pieces: files and functions of the package that can be held in the head.

A function's lines are those of its code, from `def` to its end: its docstring and decorators are
not counted, blank lines and comments are. Functions inside functions count on their own too.
Parameters are all but `self` and `cls`. What is larger today stands below by name with its figures,
which must be exact: whoever makes a function smaller lowers them, or deletes the entry.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "saecircuits"
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
LONGEST_FILE = 400
LONGEST, MOST = 60, 8


@dataclass(frozen=True)
class Over:
    """A function that is over a limit, by how much, and why it still is.

    Attributes:
        lines, parameters: its figures; None for one that is within its limit.
    """

    why: str
    lines: int | None = None
    parameters: int | None = None


OPTIONS = "every option of a command is a parameter of its function"
CHOICES = "every choice that a caller has is a keyword of its own, not yet an object"
REPORT = "builds one large result, field by field, from what several steps found"
PASSES = "one pass whose steps share most of their names"

OVER = {
    "circuits/paths.py paths_of": Over(PASSES, lines=61),
    "circuits/prune.py prune": Over(CHOICES, lines=63, parameters=10),
    "cli/explaining.py expand": Over(OPTIONS, parameters=9),
    "cli/explaining.py paths": Over(OPTIONS, lines=67, parameters=10),
    "cli/finding.py discover": Over(OPTIONS, lines=72, parameters=19),
    "cli/testing.py hypotheses": Over(OPTIONS, parameters=9),
    "discovery.py discover": Over(CHOICES, lines=76, parameters=16),
    "expansion/expand.py expand": Over(CHOICES, parameters=10),
    "nonlinearity/linearity.py linearity": Over(CHOICES, parameters=9),
    "nonlinearity/sampled.py sample": Over(PASSES, lines=75),
    "publication/publish.py publish": Over(CHOICES, parameters=15),
    "validation/baselines.py baselines": Over(CHOICES, parameters=9),
    "validation/hypotheses.py hypotheses": Over(CHOICES, parameters=13),
    "validation/validate.py _report": Over(REPORT, lines=66),
    "validation/validate.py validate": Over(CHOICES, parameters=12),
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    """Every function with its name, after those of the classes and functions that it is in."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}", node
        inner = f"{prefix}{node.name}." if isinstance(node, Function | ast.ClassDef) else prefix
        yield from _functions(node, inner)


def _lines(function: Function) -> int:
    assert function.end_lineno is not None
    count = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False) is None:
        return count
    told = function.body[0]
    assert told.end_lineno is not None
    return count - (told.end_lineno - told.lineno + 1)


def _parameters(function: Function) -> int:
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    starred = [one for one in (given.vararg, given.kwarg) if one is not None]
    return len([one for one in (*named, *starred) if one.arg not in ("self", "cls")])


def sizes(text: str) -> dict[str, tuple[int, int]]:
    """Lines and parameters of every function of a file, by name."""
    found = _functions(ast.parse(text), "")
    return {name: (_lines(function), _parameters(function)) for name, function in found}


def _over() -> dict[str, tuple[int | None, int | None]]:
    """Functions that are over a limit, with the figures that are."""
    found = {}
    for file, path in FILES.items():
        for name, (lines, parameters) in sizes(path.read_text(encoding="utf-8")).items():
            if lines > LONGEST or parameters > MOST:
                found[f"{file} {name}"] = (
                    lines if lines > LONGEST else None,
                    parameters if parameters > MOST else None,
                )
    return found


def test_functions_are_no_larger_than_they_were() -> None:
    allowed = {name: (one.lines, one.parameters) for name, one in OVER.items()}
    found = _over()
    wrong = [
        f"{name}: lines and parameters over the limits are {found.get(name, (None, None))}, "
        f"the table says {allowed.get(name, (None, None))}"
        for name in sorted(found.keys() | allowed.keys())
        if found.get(name) != allowed.get(name)
    ]
    assert not wrong, "\n".join(
        [
            f"at most {LONGEST} lines and {MOST} parameters; what is larger only gets smaller, and "
            "its entry in OVER with it:",
            *wrong,
        ]
    )


@pytest.mark.parametrize("file", FILES)
def test_files_can_be_held_in_the_head(file: str) -> None:
    lines = len(FILES[file].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE, f"{file} has {lines} lines"


def test_sizes_are_counted_as_is_said() -> None:
    text = '''
@decorated
def outer(a, /, b, *rest, c=1, **more):
    """Two lines
    of docstring."""
    def inner():
        # a comment

        return 1
    return inner

class Thing:
    def method(self, a):
        return a
'''
    # outer: def, inner's four lines, return.
    assert sizes(text) == {"outer": (6, 5), "outer.inner": (4, 0), "Thing.method": (2, 1)}
