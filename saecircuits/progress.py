"""Progress of what takes long, as a bar on a terminal and as nothing elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

# Called with a stage's name and the share done; 0 for a stage of unknown length.
Progress: TypeAlias = Callable[[str, float], None]


@contextmanager
def shown_progress(console: Any = None, *, is_quiet: bool = False) -> Iterator[Progress]:
    """Called with stages inside, a bar that shows the current one and how long all of it has taken.

    Args:
        console: of rich; a new one on the error stream if None.
        is_quiet: show nothing, as where `console` is no terminal.
    """
    # Only where something is shown: every import of the package passes here.
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    shown_on = Console(stderr=True) if console is None else console
    with Bar(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=shown_on,
        transient=True,
        disable=is_quiet or not shown_on.is_terminal,
    ) as bar:
        shown = bar.add_task("starting", total=None)

        def show(stage: str, share: float) -> None:
            bar.update(shown, description=stage, completed=share, total=1.0 if share > 0 else None)

        yield show
