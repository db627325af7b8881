"""CPU seconds, peak memory, and the rate at which this machine multiplies matrices."""

import contextlib
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass
class Clock:
    """Time spent in some stretches of code, added up.

    Attributes:
        cpu: seconds of user and system time of the process, over all its threads.
        wall: seconds on the clock.
    """

    cpu: float = field(default=0.0)
    wall: float = field(default=0.0)
    _since: float = field(default=0.0, repr=False)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Counts what happens inside."""
        cpu, wall = time.process_time(), time.perf_counter()
        self._since = cpu
        try:
            yield
        finally:
            self.cpu += time.process_time() - cpu
            self.wall += time.perf_counter() - wall

    def so_far(self) -> float:
        """CPU seconds of the stretch that is running."""
        return time.process_time() - self._since


class PeakMemory:
    """The most memory that the process has held since this was made.

    Where Linux lets the mark of the peak be set back, it is; elsewhere the peak counts from the
    process's beginning, so that steps are measured in processes of their own.
    """

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            _CLEAR.write_text("5", encoding="ascii")
        self._before = _status("VmRSS") or _largest()

    def above(self) -> int:
        """Bytes of the peak above what was held in the beginning."""
        return max(0, (_status("VmHWM") or _largest()) - self._before)


def _status(name: str) -> int | None:
    """A figure of Linux's account of the process, in bytes; None on other systems."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def _largest() -> int:
    """The process's largest resident size so far, in bytes; 0 where it is not known."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def product_rate(rows: int, inner: int, outer: int, *, seconds: float = 0.2) -> float:
    """FLOP per CPU second of `[rows, inner] @ [inner, outer]` and of the product back.

    The shapes are those of the MLP products that most of the factorised engine's work is. The best
    of three rounds counts: what the machine can do, whoever else was using it.

    Args:
        seconds: how long a round takes at least, in CPU time.
    """
    shapes = ((rows, inner), (inner, outer), (outer, inner))
    left, down, up = (torch.randn(*shape, device="cpu") for shape in shapes)
    best = 0.0
    torch.matmul(torch.matmul(left, down), up)
    for _ in range(3):
        clock, products = Clock(), 0
        while clock.cpu < seconds:
            with clock.running():
                torch.matmul(torch.matmul(left, down), up)
            products += 1
        best = max(best, products * 4 * rows * inner * outer / clock.cpu)
    return best


@dataclass(frozen=True)
class Machine:
    """What the figures were measured on. `memory` in bytes, 0 where it is not known."""

    cpu: str
    cores: int
    memory: int
    system: str
    python: str
    torch: str


def this_machine() -> Machine:
    """The machine that this runs on."""
    return Machine(
        cpu=_cpu_name(),
        cores=os.cpu_count() or 1,
        memory=_memory(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
    )


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0
