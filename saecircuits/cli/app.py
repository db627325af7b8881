"""The application, and its commands in the order in which `--help` lists them."""

import typer

from saecircuits.cli.explaining import attention, expand, interactions, linearity, paths
from saecircuits.cli.finding import attribute, compare, discover, validate
from saecircuits.cli.listing import bench, models, tasks
from saecircuits.cli.sharing import draw, export, label
from saecircuits.cli.testing import baselines, hypotheses

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Finds, validates and publishes circuits whose nodes are SAE features.",
)
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
    tasks,
    bench,
):
    app.command()(command)
