"""Train everything that is shipped, in order; a stage whose output exists is skipped.

    python experiments/pretrain/run.py --corpus DIR --out DIR

`--corpus` holds `corpus.txt` and `corpus_valid.txt`; `--work` is for checkpoints and logs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from recipes import Recipes
from stages import Pretraining


def main(
    corpus: Annotated[Path, typer.Option(help="Folder with corpus.txt and corpus_valid.txt.")],
    out: Annotated[Path, typer.Option(help="Where the finished folder goes.")],
    work: Annotated[
        Path | None, typer.Option(help="Checkpoints and logs; OUT with -work added if absent.")
    ] = None,
    tiny: Annotated[bool, typer.Option(help="A handful of tokens a stage, for a test.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Run all stages."""
    recipes = Recipes.tiny() if tiny else Recipes()
    work = work or out.with_name(out.name + "-work")
    Pretraining(corpus, out, work, recipes, threads).run()


if __name__ == "__main__":
    typer.run(main)
