"""A progress bar on stderr where a person watches, and nothing otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soc.console.render import Output

Draw = Callable[..., None]
"""Of `completed`, `total` and `description`, as `rich.progress.Progress.update` takes them."""


@contextmanager
def progress(output: Output, text: str, *, in_bytes: bool = False, is_late: bool = False) -> Iterator[Draw]:
    """A bar with the time left; `is_late`: drawn only from the first word on, as somebody may be asked before."""
    if not output.err.isatty():
        yield lambda **_: None
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    amount = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), amount, TimeRemainingColumn())
    bar = Progress(*columns, console=output.console(output.err), transient=True)
    task = bar.add_task(text, total=None)

    def draw(**told: Any) -> None:
        bar.start()
        bar.update(task, **told)

    try:
        if not is_late:
            bar.start()
        yield draw
    finally:
        bar.stop()
