"""`benchmark`: the jobs that were asked for, one process after another."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from saecircuits.benchmark.engines import BATCHED, FACTORISED, SINGLE
from saecircuits.benchmark.jobs import ABLATED_PROMPTS, Job, JobKind, curve_jobs
from saecircuits.benchmark.measuring import this_machine
from saecircuits.benchmark.results import (
    AblationResult,
    Benchmark,
    CurvePoint,
    EdgeResult,
    NodeResult,
    PartsResult,
)
from saecircuits.benchmark.sizes import SHIPPED, SIZES, Size
from saecircuits.errors import InputError, SaecircuitsError, UnknownNameError

ALL: Final = "all"
MEASURED: Final[tuple[JobKind, ...]] = ("nodes", "edges", "parts", "ablation")
_COMPARED: Final = (FACTORISED, BATCHED, SINGLE)


def benchmark(
    *,
    sizes: Sequence[str] = (ALL,),
    engines: Sequence[str] = (ALL,),
    threads: Sequence[str] = ("1",),
    is_full: bool = False,
    has_curves: bool = False,
    only: Sequence[str] = (ALL,),
    limit: int | None = None,
    command: str = "saecircuits bench",
    progress: Callable[[str, float], None] = lambda stage, share: None,
) -> Benchmark:
    """Nodes and edges on some sizes, the engines side by side, on this machine.

    Args:
        sizes: published sizes by name, the shipped model, or `all`.
        engines: of the edges: `factorised`, `batched-vjp`, `single-vjp`, or `all`. With the
            factorised engine, what parts add is measured too.
        threads: numbers, or `all` for one to a core; everything is measured with each.
        is_full: slow engines on all targets, not on a part of them.
        has_curves: also time over targets, layers and prompt length, on one thread.
        only: what is measured: `nodes`, `edges`, `parts`, `ablation` (edge ablation of 200 nodes of
            the shipped model), or `all`.
        limit: prompt pairs of the shipped model's task; None for all.
        command: that is printed with the results.
        progress: called with what is measured now and the share done.

    Raises:
        UnknownNameError: no such size, engine, or thing to measure.
        InputError: a number of threads that is none; choices that leave nothing to measure.
    """
    jobs = _jobs(
        _chosen("size", sizes, (*SIZES, SHIPPED)),
        _chosen("engine", engines, _COMPARED),
        [_threads(given) for given in threads],
        is_full=is_full,
        limit=limit,
    )
    kinds = _chosen("thing to measure", only, MEASURED)
    jobs = [job for job in jobs if job.kind in kinds]
    if not jobs and not has_curves:
        raise InputError(
            f"there is nothing to measure: {' and '.join(kinds)} of {' and '.join(sizes)} with "
            f"{' and '.join(engines)}; parts need the factorised engine, ablation the size "
            f"{SHIPPED!r}"
        )
    return run_jobs(
        jobs + (curve_jobs(1) if has_curves else []), command=command, progress=progress
    )


def run_jobs(
    jobs: Sequence[Job],
    *,
    command: str,
    progress: Callable[[str, float], None] = lambda stage, share: None,
) -> Benchmark:
    """Carries out the jobs, each in a process of its own.

    Raises:
        SaecircuitsError: a job that fails; the message has its last words.
    """
    results = []
    for number, job in enumerate(jobs):
        what = job.engine if job.kind == "edges" else job.kind
        progress(f"{job.size_name}: {what}", number / len(jobs))
        results.append((job, measure_elsewhere(job)))
    progress("done", 1.0)
    return gather(results, command=command)


def gather(results: Sequence[tuple[Job, list[dict[str, Any]]]], *, command: str) -> Benchmark:
    """The results of jobs as one value, measured on this machine."""

    def of(kind: JobKind) -> list[dict[str, Any]]:
        return [values for job, found in results if job.kind == kind for values in found]

    return Benchmark(
        machine=this_machine(),
        command=command,
        nodes=tuple(NodeResult(**values) for values in of("nodes")),
        edges=tuple(EdgeResult(**values) for values in of("edges")),
        parts=tuple(PartsResult(**values) for values in of("parts")),
        ablations=tuple(AblationResult(**values) for values in of("ablation")),
        curves=tuple(CurvePoint(**values) for values in of("curve")),
    )


def _jobs(
    sizes: Sequence[str],
    engines: Sequence[str],
    threads: Sequence[int],
    *,
    is_full: bool,
    limit: int | None,
) -> list[Job]:
    jobs = []
    for name in sizes:
        size: Size | None = SIZES.get(name)
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


def measure_elsewhere(job: Job) -> list[dict[str, Any]]:
    """A job's results from a fresh process."""
    count = str(job.threads)
    done = subprocess.run(
        [sys.executable, "-m", "saecircuits.benchmark.one", json.dumps(job.to_json())],
        env={**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SaecircuitsError(
            f"measuring {job.kind} of {job.size_name} ended with status {done.returncode}: {reason}"
        )
    return json.loads(done.stdout.strip().splitlines()[-1])


def _chosen(what: str, given: Sequence[str], known: Sequence[str]) -> list[str]:
    for name in given:
        if name not in (*known, ALL):
            raise UnknownNameError(what, name, (*known, ALL))
    return [name for name in known if name in given or ALL in given]


def _threads(given: str) -> int:
    cores = os.cpu_count() or 1
    if given == ALL:
        return cores
    if not given.isdecimal() or int(given) < 1:
        raise InputError(f"threads is {given!r}; it must be a number of at least 1, or 'all'")
    return int(given)
