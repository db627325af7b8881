"""Interruption: signals that end a command, and how a person goes on after one."""

import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

_ENDING: Final = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no hang-up


class Stopped(BaseException):
    """A signal asked the command to end. Not an Exception: nothing on the way takes it for one."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.name = signal.Signals(signum).name
        self.status = 128 + signum  # as shells tell the end by a signal


@contextmanager
def stoppable() -> Iterator[None]:
    """Ending signals raise `Stopped` inside, so that files are left complete; once.

    A second signal of the kind does what it did before: a command that hangs can still be ended.
    """
    before = {}

    def stop(signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, before[signum])
        raise Stopped(signum)

    # Only the main thread may set handlers; elsewhere (a notebook's server) signals are its own.
    if threading.current_thread() is threading.main_thread():
        for name in _ENDING:
            signum = getattr(signal, name, None)
            if signum is not None:
                before[signum] = signal.signal(signum, stop)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def how_to_go_on(arguments: Sequence[str]) -> str:
    """What to type after an interruption.

    Args:
        arguments: of the command line, the program's name left out.
    """
    if arguments[:1] != ["discover"]:
        return "run the command again"
    kept = [word for word in arguments if word not in ("--overwrite", "--resume")]
    again = shlex.join(["saecircuits", *kept, "--resume"])
    return f"whatever was written is complete; go on with: {again}"
