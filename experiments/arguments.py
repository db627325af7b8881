"""The options that experiments on shipped tasks have in common."""

import argparse
from pathlib import Path

import saecircuits as sc


def task_parser(
    description: str | None, *, limit: int | None = None, out: str = "results"
) -> argparse.ArgumentParser:
    """A parser of `--model`, `--tasks`, `--limit` and `--out`.

    Args:
        limit: prompt pairs in each half of a task; None for all.
        out: the folder that results go to.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", default="stories")
    parser.add_argument("--tasks", nargs="*", default=list(sc.task_names("stories")))
    parser.add_argument("--limit", type=int, default=limit, help="prompt pairs in each half")
    parser.add_argument("--out", type=Path, default=Path(out))
    return parser
