"""The application, and its commands in the order in which `--help` lists them."""

from typing import Annotated

import typer

from saecircuits.cli.explaining import attention, expand, interactions, linearity, paths
from saecircuits.cli.finding import attribute, compare, discover, validate
from saecircuits.cli.listing import dictionaries, models, tasks
from saecircuits.cli.packing import manifest
from saecircuits.cli.sharing import draw, export, label
from saecircuits.cli.showing import say
from saecircuits.cli.testing import baselines, hypotheses

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Finds, validates and publishes circuits whose nodes are SAE features.",
)


def _say_version(asked: bool) -> bool:
    if asked:
        from saecircuits import __version__

        say(f"saecircuits {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """What comes before a command."""


for command in (
    discover,
    attribute,
    validate,
    hypotheses,
    baselines,
    compare,
    paths,
    interactions,
    attention,
    expand,
    linearity,
    draw,
    export,
    label,
    models,
    dictionaries,
    tasks,
    manifest,
):
    app.command()(command)
