"""How long a long computation still takes, on the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Told = Callable[[int, int, str], None]
"""What a long computation tells: steps done, all steps, and a line worth keeping ("" if there is none)."""


@contextmanager
def progress_bar(title: str, console: Console) -> Iterator[Told]:
    """A bar that moves with every call; lines worth keeping are printed above it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(title, total=None)

        def tell(done: int, steps: int, line: str) -> None:
            bar.update(task, completed=done, total=steps)
            if line:
                bar.console.print(line, highlight=False)

        yield tell
