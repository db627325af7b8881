"""What public functions are given is what they ask for, checked where their names are looked up.

Every parameter whose annotation is a class of this package, a path or a mapping is compared with
the value given. Other annotations are for the functions themselves to check.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from types import UnionType
from typing import Any, Final, get_args, get_origin

from saecircuits.errors import InputError

_WANTED: Final = {
    "AttributionGraph": "a graph, from attribute",
    "AttributionSettings": "AttributionSettings(...)",
    "Circuit": "a circuit, from prune",
    "CrossLayerTranscoder": "a cross-layer transcoder",
    "GraphFile": "a graph file, from read_graph_file",
    "Mapping": "a dict",
    "NoneType": "None",
    "Path": "a path",
    "Prompts": "prompts, such as task.train or task.test of a task",
    "Reader": "a spliced model, from load_model or splice",
    "Routes": "routes, from paths",
    "SplicedModel": "a spliced model, from load_model or splice",
    "StoredRun": "a run, from read_run",
    "Task": "a task, from load_task",
    "ValidationReport": "a report, from validate",
    "str": "a name",
}
# By what was given and what was wanted.
_ADVICE: Final = {
    ("Task", "Prompts"): "give task.train to find something in, task.test to validate it on",
    ("Prompts", "Task"): "give the task that they are of",
    ("TransformerBridge", "SplicedModel"): "give splice(bridge, dictionaries)",
    ("TransformerBridge", "Reader"): "give splice(bridge, dictionaries)",
    ("str", "SplicedModel"): "give load_model(...) of that name or folder",
    ("Path", "SplicedModel"): "give load_model(...) of that folder",
    ("Run", "AttributionGraph"): "give run.graph",
    ("Run", "Circuit"): "give run.circuit",
    ("Run", "ValidationReport"): "give run.report",
    ("Run", "StoredRun"): "give run.folder",
    ("StoredRun", "Circuit"): "give run.circuit",
    ("AttributionGraph", "Circuit"): "give prune(graph, nodes=...)",
    ("list", "Mapping"): "give each by its name",
    ("list", "Path"): "write what it holds to a file of JSON lines, and give its path",
}


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which refuses what is of another kind than its annotations say.

    Raises:
        InputError: when called, saying what was given and what would be right.
    """
    signature = inspect.signature(function)
    wanted = {name: _classes(p.annotation) for name, p in signature.parameters.items()}

    @wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        try:
            given = signature.bind(*args, **named).arguments
        except TypeError:
            return function(*args, **named)  # Python says what is missing or too much
        for name, value in given.items():
            is_many = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            for one in value if is_many else (value,):
                _check(function.__name__, name, one, wanted[name])
        return function(*args, **named)

    return call


def _classes(annotation: Any) -> tuple[type, ...]:
    """The classes that an annotation allows; empty where it is for others to check."""
    is_union = isinstance(annotation, UnionType)
    kinds = get_args(annotation) if is_union else (annotation,)
    # Of a mapping it is looked at whether it is one, not at what it holds.
    kinds = tuple(Mapping if get_origin(kind) is Mapping else kind for kind in kinds)
    if not all(isinstance(kind, type) and get_origin(kind) is None for kind in kinds):
        return ()
    is_ours = any(
        kind in (Path, Mapping) or kind.__module__.startswith("saecircuits.") for kind in kinds
    )
    return kinds if is_ours else ()


def _check(function: str, name: str, value: Any, wanted: tuple[type, ...]) -> None:
    if not wanted or isinstance(value, wanted):
        return
    choices = [_WANTED.get(kind.__name__, f"a {kind.__name__}") for kind in wanted]
    choices = [choice for choice in choices if choice != "None"]
    advice = (
        _ADVICE.get((base.__name__, kind.__name__))
        for base in type(value).__mro__
        for kind in wanted
    )
    hint = next((f"; {text}" for text in advice if text), "")
    raise InputError(
        f"{function} was given {described(value)} as {name}; it takes {' or '.join(choices)}{hint}"
    )


def described(value: Any) -> str:
    """What a value is, in words: its class, and the library that it is from."""
    if value is None:
        return "None"
    kind = type(value)
    article = "an" if kind.__name__[0] in "AEIOUaeiou" else "a"
    library = kind.__module__.split(".")[0]
    suffix = "" if library in ("builtins", "pathlib") else f" of {library}"
    return f"{article} {kind.__name__}{suffix}"
