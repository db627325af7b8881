"""A newcomer's first tries, typed as they stand in the guide: time and peak memory of each.

Nothing is fetched: a cache of the hub is filled with stand-ins of real shape and random weights.

    python -m experiments.first_tries.run --tries gpt2 own --out results
"""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import pandas as pd

from experiments.first_tries.stand_ins import write_task
from experiments.first_tries.tries import TRIES, Try
from experiments.tables import write_table


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes `first_tries.csv` and `first_tries.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [one.name for one in TRIES]
    parser.add_argument("--tries", nargs="*", default=names, choices=names)
    parser.add_argument("--limit", type=int, help="pairs of each half of the task")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    rows = []
    for one in TRIES:
        if one.name in options.tries:
            with TemporaryDirectory() as folder:
                rows.append(tried(one, Path(folder), limit=options.limit))
            write_table(pd.DataFrame(rows), options.out, name="first_tries")


def tried(one: Try, here: Path, *, limit: int | None) -> dict[str, Any]:
    """One try in a process of its own: what it took, and the last line that it printed."""
    cache, task = here / "hub", here / "task.jsonl"
    cache.mkdir()
    write_task(task)
    one.prepare(cache, here, task)
    words = ["discover", "task.jsonl", *one.words]
    if limit is not None:
        words += ["--limit", str(limit)]
    environment = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    start = monotonic()
    with (here / "said").open("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "saecircuits", *words],
            cwd=here, env=environment, stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        lines = said.read().strip().splitlines()
    print(*lines[-40:], sep="\n")
    return {
        "try": one.name,
        "command": shlex.join(["saecircuits", *words]),
        "exit status": process.returncode,
        "wall s": round(monotonic() - start),
        "CPU s": round(used.ru_utime + used.ru_stime),
        "peak GB": round(used.ru_maxrss / 1e6, 2),
    }


if __name__ == "__main__":
    main()
