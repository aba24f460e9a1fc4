"""What a person sees on standard error: moving bars on a terminal, plain lines anywhere else."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.status import Status

from app.shell.client import TaskView
from app.shell.sources import Source, shown

console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """One plain line."""
    console.print(text, markup=False)


class Steps:
    """Names what goes on, and how long each step took. Use it as a context: its end is the end of the last step."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self._name: str | None = None
        self._since = self.begun
        self._spinner: Status | None = None

    def __enter__(self) -> "Steps":
        return self

    def __call__(self, name: str) -> None:
        """A new step begins; the one before it is done."""
        self._close()
        self._name, self._since = name, time.monotonic()
        if console.is_terminal:
            self._spinner = console.status(f"{name} ...")
            self._spinner.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close(done=kind is None)

    def _close(self, *, done: bool = True) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None
        if self._name is not None and done:
            say(f"  {self._name:<44} {time.monotonic() - self._since:6.1f} s")
        self._name = None


@contextmanager
def fetching() -> Iterator[Callable[[str, int, int | None], None]]:
    """For a download: told what goes on, the bytes done and in all."""
    columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
                if not console.is_terminal:
                    say(f"  {what}")
            progress.update(tasks[what], completed=done, total=total)

        yield show


class Watch(Protocol):
    """Is told how the pictures fare, from several threads. Failures are told at the very end, by others."""

    def begun(self, source: Source) -> None: ...

    def changed(self, source: Source, task: TaskView) -> None: ...

    def ended(self, source: Source, target: Path | None) -> None: ...


class Silence:
    """Nothing, for a picture whose files have no names."""

    def begun(self, source: Source) -> None: ...

    def changed(self, source: Source, task: TaskView) -> None: ...

    def ended(self, source: Source, target: Path | None) -> None: ...


class Lines(Silence):
    """One line for each picture that is done."""

    def ended(self, source: Source, target: Path | None) -> None:
        if target is not None:
            say(f"{shown(source)} → {shown(target)}")


class Bar:
    """One bar for all pictures; those at work count by the progress that their tasks report."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._bar = progress.add_task("", total=total, over=0, doing="")
        self._lock = threading.Lock()
        self._at_work: dict[Source, float] = {}
        self._doing = ""
        self._over = 0

    def begun(self, source: Source) -> None:
        with self._lock:
            self._at_work[source], self._doing = 0, "sending"
            self._draw()

    def changed(self, source: Source, task: TaskView) -> None:
        with self._lock:
            self._at_work[source], self._doing = task.progress / 100, task.stage or task.status
            self._draw()

    def ended(self, source: Source, target: Path | None) -> None:
        with self._lock:
            self._at_work.pop(source)
            self._over += 1
            self._draw()
        if target is not None:
            say(f"{shown(source)} → {shown(target)}")

    def _draw(self) -> None:
        doing = self._doing if len(self._at_work) == 1 else f"{len(self._at_work)} at work"
        done = self._over + sum(self._at_work.values())
        self._progress.update(self._bar, completed=done, over=self._over, doing=doing if self._at_work else "")


@contextmanager
def watching(total: int, *, quiet: bool) -> Iterator[Watch]:
    """A bar on a terminal, lines elsewhere; nothing when that is asked for."""
    if quiet or not console.is_terminal:
        yield Silence() if quiet else Lines()
        return
    columns = (
        BarColumn(),
        TextColumn("{task.fields[over]}/{task.total:.0f}  {task.fields[doing]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress, total)


def summary(done: int, there: int, failed: int) -> None:
    """How it went, in one line; nothing where one picture speaks for itself."""
    parts = [f"{done} cut out"] if done or not there else []
    parts += [f"{there} there already"] if there else []
    parts += [f"{failed} failed"] if failed else []
    if there or done + failed > 1:
        say(f"{', '.join(parts)}.")
