"""Jobs: what is measured, one after another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from experiments.bench.distant import DISTANT
from experiments.bench.engines import FACTORISED
from experiments.bench.sizes import SIZES, Size

JobKind = Literal["nodes", "edges", "parts", "ablation", "distant", "curve"]
# Edge ablation is timed on so many prompt pairs unless told.
ABLATED_PROMPTS: Final = 32


@dataclass(frozen=True)
class Job:
    """One measurement.

    Attributes:
        size: a published size; None for the shipped model, and for `distant`.
        limit: prompt pairs of the shipped model's task; None for all.
        engine: for `edges`.
        is_full: also the slow engines on all targets.
        distant: for `distant`, its name, and the folder of its model if it is brought along.
        curve: for `curve`, what is varied.
        counts: for `curve`, targets per site, each a point.
    """

    kind: JobKind
    size: Size | None
    threads: int
    limit: int | None = None
    engine: str = FACTORISED
    is_full: bool = False
    distant: tuple[str, Path | None] | None = None
    curve: str = ""
    counts: tuple[int | None, ...] = ()

    @property
    def size_name(self) -> str:
        """Of the size or the shipped model."""
        if self.distant is not None:
            return self.distant[0]
        return "stories" if self.size is None else self.size.name

    @property
    def what(self) -> str:
        """In a word: the engine of edges, or the kind."""
        return self.engine if self.kind == "edges" else self.kind


def jobs_of(
    sizes: Sequence[str],
    engines: Sequence[str],
    threads: Sequence[int],
    *,
    is_full: bool = False,
    limit: int | None = None,
    folder: Path | None = None,
) -> list[Job]:
    """Everything that can be measured of some sizes: published ones, the shipped model, distant
    sites; by name.

    Args:
        folder: of the model that is brought along; without it its size has no jobs.
    """
    jobs = []
    for name in sizes:
        if name in DISTANT:
            if DISTANT[name].is_at_hand(folder):
                jobs.append(Job("distant", None, threads[0], distant=(name, folder)))
            continue
        size = SIZES.get(name)
        for count in dict.fromkeys(threads):
            jobs.append(Job("nodes", size, count, limit=limit))
            jobs += [
                Job("edges", size, count, limit=limit, engine=engine, is_full=is_full)
                for engine in engines
            ]
        # A share of extra time is the same with more threads, up to noise.
        if FACTORISED in engines:
            jobs.append(Job("parts", size, threads[0], limit=limit))
        if size is None:
            jobs.append(Job("ablation", size, threads[0], limit=limit or ABLATED_PROMPTS))
    return jobs


def curve_jobs(threads: int) -> list[Job]:
    """Time over targets, layers and prompt length, at shapes that load quickly.

    Edges do not depend on the width of dictionaries, so the GPT-2 small size has a quarter of it;
    prompt length is varied on the shipped model's shape, with the same number of targets.
    """
    gpt2 = replace(SIZES["gpt2-small"], d_sae=6144)
    small = Size(
        "stories-shape", "the shipped model's shape", "gpt2",
        n_layers=4, d_model=128, n_heads=4, d_mlp=512, d_vocab=3072,
        d_sae=1024, active=20, n_tokens=16,
    )  # fmt: skip
    counts = (15, 30, 60, 120, 240, 480, 960)
    layers = (2, 4, 6, 8, 10, 12)
    tokens = (16, 32, 64, 128, 256, 512, 1024)
    return [
        Job("curve", gpt2, threads, curve="targets", counts=counts),
        *(
            Job("curve", replace(gpt2, n_layers=n), threads, curve="layers", counts=(None,))
            for n in layers
        ),
        *(
            Job("curve", replace(small, n_tokens=n), threads, curve="tokens", counts=(320,))
            for n in tokens
        ),
    ]
