"""Progress on stderr: a bar on a terminal, a line every so often where nobody watches."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping

Report = Callable[[int, Mapping[str, float]], None]
"""Called with the number of steps done and the metrics to show."""


@contextlib.contextmanager
def progress(label: str, total: int, every: float = 30.0) -> Iterator[Report]:
    """Yield a function that reports progress; `every` is the time in seconds between lines."""
    with _bar(label, total) if sys.stderr.isatty() else _lines(label, total, every) as report:
        yield report


@contextlib.contextmanager
def _bar(label: str, total: int) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[metrics]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, metrics="")

        def report(done: int, metrics: Mapping[str, float]) -> None:
            bar.update(task, completed=done, metrics=_text(metrics))

        yield report


@contextlib.contextmanager
def _lines(label: str, total: int, every: float) -> Iterator[Report]:
    start = last = time.monotonic()

    def report(done: int, metrics: Mapping[str, float]) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every or done == total:
            last = now
            seconds = f"{now - start:.0f} s"
            print(f"{label} {done}/{total}  {seconds}  {_text(metrics)}".rstrip(), file=sys.stderr)
            sys.stderr.flush()

    yield report


def _text(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name != "step")
