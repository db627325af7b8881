"""The options of the commands."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from saecircuits.cli.asked import ModelSource, RunSource
from saecircuits.nodes.shipped import BASELINE_NAMES, one_of

TaskName = Annotated[
    str, typer.Argument(help="A shipped task (see `tasks`), or a .jsonl file of prompt pairs.")
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model", help="A shipped model (see `models`), a folder, a GGUF file, or a hub's name."
    ),
]
RunTask = Annotated[
    str | None,
    typer.Option("--task", help="Other prompts than the run's own task: a name or a file."),
]
RunModel = Annotated[
    str | None, typer.Option("--model", help="Where the run's model is; else as its record says.")
]
Sites = Annotated[
    str | None,
    typer.Option(help="Where dictionaries are spliced: a kind such as resid_post, or hook names."),
]
Dictionaries = Annotated[
    list[str] | None,
    typer.Option(
        "--dictionaries",
        metavar="SOURCE[:IDS]",
        help="A release of sae_lens, a folder, or OWNER/NAME of a hub; with ids or patterns of "
        "them (see `dictionaries`). May be repeated.",
    ),
]
Insist = Annotated[
    bool, typer.Option("--insist", help="Take dictionaries that do not seem to fit the model.")
]


Prepend = Annotated[
    str | None,
    typer.Option(
        help="In front of every text: bos, none, or a token; by default the tokenizer's own BOS, "
        "and nothing where it has none."
    ),
]
RunPrepend = Annotated[
    str | None, typer.Option("--prepend", help="As in `discover`; by default as in the run.")
]


def _known_device(given: str) -> str:
    # Before anything is loaded, and with nothing imported where nothing was asked for.
    if given != "cpu":
        from saecircuits.splicing.devices import read_device

        read_device(given)
    return given


def _known_dtype(given: str | None) -> str | None:
    if given not in (None, "float32"):
        from saecircuits.splicing.devices import read_dtype

        read_dtype(given)
    return given


Device = Annotated[
    str,
    typer.Option(help="Where the model computes: cpu, cuda, cuda:1, mps.", callback=_known_device),
]
Dtype = Annotated[
    str,
    typer.Option(
        help="Of model and dictionaries: float32, float64, bfloat16, float16.",
        callback=_known_dtype,
    ),
]
RunDtype = Annotated[
    str | None,
    typer.Option("--dtype", help="The run's own, and no other.", callback=_known_dtype),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Out = Annotated[Path | None, typer.Option("--out", help="The run's folder.")]
_BASELINES: Final = f"{one_of(BASELINE_NAMES)}."
Baseline = Annotated[str, typer.Option(help=_BASELINES)]
Limit = Annotated[
    int | None, typer.Option(help="Use at most this many pairs of each half of the task.")
]
Baselines = Annotated[
    str, typer.Option("--baseline", help=f"{one_of(BASELINE_NAMES)}; or several, with commas.")
]
Overwrite = Annotated[bool, typer.Option(help="Replace a run that the folder holds.")]
Resume = Annotated[bool, typer.Option(help="Continue a run that the folder holds.")]

ContextsFile = Annotated[
    Path | None,
    typer.Option(
        "--contexts", help="A text file to look at features on; else the model writes some."
    ),
]
ContextsLicence = Annotated[
    str | None, typer.Option(help="Under which words of --contexts may be shown.")
]
ContextsTokens = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Look at so many tokens of --contexts (65,536 unless told), or of what the model "
        "writes (8,192; on a CPU fewer of a large model).",
    ),
]
NoContexts = Annotated[
    bool,
    typer.Option(
        "--no-contexts",
        help="Look at no text; of --contexts, publish figures and none of its words.",
    ),
]
Licence = Annotated[str | None, typer.Option(help="Of the run's files, for their metadata.")]


def _count_or_all(given: str | int) -> int | None:
    if given == "all":
        return None
    if not str(given).isdecimal():
        raise typer.BadParameter(f"{given!r} is neither a number nor 'all'")
    return int(given)


# Fields of `AttributionSettings` that are options, with default and help.
CHOICES: Final[dict[str, tuple[Any, str]]] = {
    "estimator": ("gradient", "gradient, integrated_gradients, or intervention (exact, slow)."),
    "linearization": ("full", "full, frozen, or secant."),
    "positions": ("span", "each, span, or sum."),
    "error_policy": ("recompute", "recompute or hold."),
    "baseline": ("corrupted", _BASELINES),
    "engine": ("auto", "Of the edges: auto, factorised, or reference (autograd, slow)."),
    "thresholds": ("crossed", "Of features that edges end in: crossed, or held as a slope does."),
    "max_nodes": (300, "Edges are computed among this many nodes, the strongest, or among all."),
    "target_threshold": (
        0.0,
        "Edges into nodes of smaller |effect| than this, in logits, are not computed; what that "
        "leaves out is told node by node.",
    ),
    "parts": (True, "Tell apart the heads and MLPs that carry each edge."),
    "max_edges": (100_000, "Keep at most this many edges in the graph, the strongest."),
    "edge_steps": (8, "Points along which integrated gradients average edges."),
    "memory_limit": ("4GB", "For everything beside the model and its dictionaries."),
    "seed": (0, "Seed of every random draw."),
}
_READ_BY: Final = {"max_nodes": {"parser": _count_or_all, "metavar": "NUMBER|all"}}


def with_choices(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with an option for every choice of an attribution; it takes them by name."""
    shared = [
        _option(
            name,
            type(default),
            typer.Option(
                default, help=words, rich_help_panel="Attribution", **_READ_BY.get(name, {})
            ),
        )
        for name, (default, words) in CHOICES.items()
    ]
    command.__signature__ = _with(command, shared)  # pyright: ignore[reportFunctionMemberAccess]
    return command


def with_model(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with the options that say which model; it takes them as one `source`."""
    return _bundled(command, "source", ModelSource, _MODEL)


def with_run(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with the options on where a run's model and task are, as one `again`."""
    return _bundled(command, "again", RunSource, _RUN)


# Name, annotation and default of the options that several commands share.
_MODEL: Final = (
    ("model", ModelName, "stories"),
    ("sites", Sites, None),
    ("dictionaries", Dictionaries, None),
    ("insist", Insist, False),
    ("device", Device, "cpu"),
    ("dtype", Dtype, "float32"),
    ("prepend", Prepend, None),
)
_RUN: Final = (
    ("task", RunTask, None),
    ("model", RunModel, None),
    ("sites", Sites, None),
    ("dictionaries", Dictionaries, None),
    ("device", Device, "cpu"),
    ("dtype", RunDtype, None),
    ("prepend", RunPrepend, None),
)


def _bundled(
    command: Callable[..., None],
    name: str,
    bundle: Callable[..., Any],
    options: Sequence[tuple[str, Any, Any]],
) -> Callable[..., None]:
    @wraps(command)
    def call(**given: Any) -> None:
        mine = {option: given.pop(option) for option, _, _ in options}
        command(**given, **{name: bundle(**mine)})

    added = [_option(*option) for option in options]
    given = _with(command, added, without=name)
    call.__signature__ = given  # pyright: ignore[reportAttributeAccessIssue]
    return call


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )


def _with(
    command: Callable[..., None], added: Sequence[inspect.Parameter], *, without: str = ""
) -> inspect.Signature:
    """typer reads options off a signature: the command's own, then those added."""
    own = inspect.signature(command)
    named = [
        one
        for one in own.parameters.values()
        if one.kind is not one.VAR_KEYWORD and one.name != without
    ]
    # What `with_choices` adds stays the last panel.
    positional = [one for one in named if one.kind is not one.KEYWORD_ONLY]
    keyword = [one for one in named if one.kind is one.KEYWORD_ONLY]
    return own.replace(parameters=[*positional, *added, *keyword])
