"""Commands that say what is there: models, dictionaries and tasks."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from saecircuits.cli.options import AsJson
from saecircuits.cli.showing import OUT, print_json, say
from saecircuits.errors import InputError


def models(as_json: AsJson = False) -> None:
    """List the models known by name, their dictionaries and how good these are."""
    from saecircuits.splicing.loading import read_manifest
    from saecircuits.splicing.packaged import PACKAGED, is_at_hand
    from saecircuits.splicing.shipped import model_names, not_shipped

    manifests = {name: read_manifest(name) for name in model_names()}
    if not manifests:
        raise not_shipped("there is nothing to list")
    packages = {
        name: {**asdict(model), "install": None if is_at_hand(model) else model.install}
        for name, model in PACKAGED.items()
    }
    if as_json:
        bare = {name: {"package": about} for name, about in packages.items()}
        print_json(
            {name: {**bare.get(name, {}), **manifests.get(name, {})} for name in bare | manifests}
        )
        return
    for name, manifest in manifests.items():
        OUT.print(Text.assemble((name, "bold"), f": {manifest.get('description', '')}"))
        table = Table(
            Column("dictionary", min_width=25), "kind", "L0", "variance", "recovered", "dead"
        )
        for entry in manifest["dictionaries"]:
            table.add_row(
                entry.get("hook_name_out") or entry["hook_name"],
                entry["kind"],
                f"{entry['mean_l0']:.1f}",
                f"{entry['fraction_variance_explained']:.3f}",
                f"{entry['loss_recovered']:.3f}",
                f"{entry['dead_share']:.1%}",
            )
        OUT.print(table)
    for name, about in packages.items():
        bare = "" if name in manifests else "; no dictionaries: name some by --dictionaries"
        say(
            f"{name}: {about['description']}, {about['licence']}, in the package "
            f"{about['project']} {about['version']}{bare}"
        )
        if about["install"] is not None:
            say(f"  not installed: {about['install']}")


def dictionaries(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE[:IDS]]",
            help="A release, a folder, or OWNER/NAME of a hub; none to list the releases.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what a source of dictionaries has, and what would be loaded; fetches no weights."""
    from saecircuits.splicing.dictionary_sources import asked_for, list_dictionaries, parsed
    from saecircuits.splicing.offers import matching

    if source is None:
        _print_releases(as_json)
        return
    name, patterns = parsed(source)
    offers = list_dictionaries(name)
    shown = matching(offers, patterns) if patterns else offers
    try:
        taken, why = {offer.id for offer in asked_for(source)}, ""
    except InputError as error:
        taken, why = set[str](), str(error)
    if as_json:
        print_json([_figures(offer, is_taken=offer.id in taken) for offer in shown])
        return
    table = Table("", Column("id", overflow="fold"), "layer", "kind", "width", "L0", "variance")
    for offer in shown:
        row = _figures(offer, is_taken=offer.id in taken)
        words = [row["layer"], row["kind"], row["width"], row["l0"], row["variance_explained"]]
        mark = "*" if offer.id in taken else ""
        table.add_row(mark, Text(offer.id), *("" if word is None else str(word) for word in words))
    OUT.print(table)
    for offer in shown:
        if offer.refused is not None:
            OUT.print(Text(f"{offer.id}: not read: {offer.refused}"))
    OUT.print(
        Text(why)
        if why
        else Text(
            f"* what --dictionaries {source} loads: {len(taken)} of {len(offers)}"
            + ("" if patterns else "; name others by SOURCE:IDS, all by SOURCE:all")
        )
    )


def _figures(offer: Any, *, is_taken: bool) -> dict[str, Any]:
    names = ("id", "hook", "layer", "kind", "width", "l0", "variance_explained", "model", "refused")
    return {**{name: getattr(offer, name) for name in names}, "is_loaded": is_taken}


def _print_releases(as_json: bool) -> None:
    from saecircuits.splicing.releases import registry

    rows: Sequence[tuple[str, str, int]] = [
        (name, entry.model, len(entry.saes_map)) for name, entry in registry().items()
    ]
    if as_json:
        print_json(
            [dict(zip(("release", "model", "dictionaries"), row, strict=True)) for row in rows]
        )
        return
    table = Table(Column("release", overflow="fold"), "model", Column("ids", no_wrap=True))
    for name, model, count in rows:
        table.add_row(name, model, str(count))
    OUT.print(table)


def tasks(as_json: AsJson = False) -> None:
    """List the shipped tasks."""
    from saecircuits.tasks import FAMILIES

    if as_json:
        print_json(
            {
                name: {"description": family.description, "example": family.example}
                for name, family in FAMILIES.items()
            }
        )
        return
    table = Table("task", "what it asks", "example")
    for name, family in FAMILIES.items():
        table.add_row(name, family.description, family.example)
    OUT.print(table)
