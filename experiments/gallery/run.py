"""The gallery: a circuit of every shipped task, as `saecircuits discover` makes it.

    python -m experiments.gallery.run --out docs

Writes `gallery.md` and a picture of every circuit into `gallery/`; the runs themselves go to
`--runs`, where `report.html` of each can be opened.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import saecircuits as sc
from experiments.arguments import task_parser
from experiments.tables import markdown_table
from saecircuits.runs.phrases import pair_phrase
from saecircuits.runs.records import TaskRecord, describe_task

_HEAD = """# Gallery

The circuit of every shipped task on the shipped model, as it comes out with nothing chosen: the
smallest circuit with a faithfulness of 0.85 on the training pairs, judged on held-out pairs. Each
picture shows its strongest nodes and edges; the whole is in the `report.html` of the run.

```sh
python -m experiments.gallery.run --out docs    # makes this page and its pictures
saecircuits discover pronoun --out runs/pronoun # one of them
```
"""


def section(task: sc.Task, about: TaskRecord, run: sc.Run) -> str:
    """One task: what is asked, the picture, what holds and how well."""
    report = run.report
    strongest = run.routes.table.head(1)
    path = "none was found" if strongest.empty else " → ".join(strongest["nodes"].iloc[0])
    by_edges = report.faithfulness_of("edges")
    lines = [
        f"## {task.name}",
        f"{about.description} {pair_phrase(about.example)}",
        f"![The circuit of {task.name}](gallery/{task.name}.svg)",
        f"Held-out faithfulness {report.faithfulness:.2f} "
        f"[{report.faithfulness_low:.2f}, {report.faithfulness_high:.2f}] by nodes"
        f"{'' if by_edges is None else f', {by_edges:.2f} by edges'}, with {report.nodes} nodes "
        f"({report.errors} of them error nodes) and {report.edges:,} edges. Strongest path: "
        f"`{path}`.",
    ]
    if report.calibration is not None:
        lines += [one["text"] for one in report.calibration.get("warnings", ())]
    return "\n\n".join(lines)


def row(task: sc.Task, run: sc.Run) -> dict[str, object]:
    """The figures of one circuit."""
    report = run.report
    calibration = report.calibration or {}
    return {
        "task": f"[{task.name}](#{task.name})",
        "nodes": report.nodes,
        "error nodes": report.errors,
        "edges": report.edges,
        "by nodes": report.faithfulness,
        "by edges": report.faithfulness_of("edges"),
        "random circuits": report.random["median"],
        "Spearman, nodes": calibration.get("nodes", {}).get("spearman"),
        "Spearman, edges": calibration.get("edges", {}).get("spearman"),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes every run, then the page."""
    parser = task_parser(__doc__, out="docs")
    parser.add_argument("--runs", type=Path, default=Path("runs/gallery"))
    options = parser.parse_args(arguments)
    model = sc.load_model(options.model)
    pictures = options.out / "gallery"
    pictures.mkdir(parents=True, exist_ok=True)
    rows, sections = [], []
    for name in options.tasks:
        task = sc.load_task(name, model, limit=options.limit)
        run = sc.discover(model, task, options.runs / name, overwrite=True)
        shutil.copyfile(run.folder / "figure.svg", pictures / f"{name}.svg")
        rows.append(row(task, run))
        sections.append(section(task, describe_task(task, model), run))
        print(rows[-1], flush=True)
    text = "\n\n".join([_HEAD.rstrip(), markdown_table(pd.DataFrame(rows), digits=2), *sections])
    (options.out / "gallery.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
