"""Commands that say what is there: models and tasks."""

from rich.table import Column, Table
from rich.text import Text

from saecircuits.cli.options import AsJson
from saecircuits.cli.showing import OUT, print_json


def models(as_json: AsJson = False) -> None:
    """List the shipped models, their dictionaries and how good these are."""
    from saecircuits.splicing.loading import model_names, not_shipped, read_manifest

    manifests = {name: read_manifest(name) for name in model_names()}
    if not manifests:
        raise not_shipped("there is nothing to list")
    if as_json:
        print_json(manifests)
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
