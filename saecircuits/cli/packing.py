"""The command that makes a model folder of a model and dictionaries."""

from pathlib import Path
from typing import Annotated

import typer

from saecircuits.cli.options import AsJson
from saecircuits.cli.showing import print_json, say


def manifest(
    folder: Annotated[Path, typer.Argument(help="A folder with a model and dictionaries in it.")],
    name: Annotated[str | None, typer.Option(help="What files call the model.")] = None,
    description: Annotated[str, typer.Option(help="One line about it.")] = "",
    sites: Annotated[
        str | None, typer.Option(help="Hook points spliced by default, with commas between them.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a manifest that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the manifest of a model folder, so that --model FOLDER is all that it needs."""
    from saecircuits.splicing.manifest_writing import write_manifest

    made = write_manifest(
        folder,
        name=name,
        description=description,
        default_sites=None if sites is None else sites.split(","),
        overwrite=overwrite,
    )
    if as_json:
        print_json(made)
        return
    for entry in made["dictionaries"]:
        hook = entry.get("hook_name_out") or entry["hook_name"]
        say(f"{entry['path']}: {entry['kind']} at {hook}")
    say(
        f"{folder / 'manifest.json'}: {len(made['dictionaries'])} dictionaries, "
        f"{len(made['default_sites'])} spliced by default, {len(made['files'])} files"
    )
