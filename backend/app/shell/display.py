"""What a person sees on standard error: moving bars on a terminal, plain lines anywhere else."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.status import Status

from app.shell.client import TaskView

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

    def begun(self, source: Path) -> None: ...

    def changed(self, source: Path, task: TaskView) -> None: ...

    def ended(self, source: Path, target: Path | None) -> None: ...


class Lines:
    """One line for each picture that is done."""

    def begun(self, source: Path) -> None:
        """Nothing to say yet."""

    def changed(self, source: Path, task: TaskView) -> None:
        """Nothing to say yet."""

    def ended(self, source: Path, target: Path | None) -> None:
        if target is not None:
            say(f"{source} → {target}")


class Bars:
    """A bar for each picture at work, fed by the progress that its task reports."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[Path, TaskID] = {}

    def begun(self, source: Path) -> None:
        self._bars[source] = self._progress.add_task(str(source), total=100, stage="sending")

    def changed(self, source: Path, task: TaskView) -> None:
        stage = task.stage or task.status
        self._progress.update(self._bars[source], completed=task.progress, stage=stage)

    def ended(self, source: Path, target: Path | None) -> None:
        self._progress.remove_task(self._bars.pop(source))
        if target is not None:
            say(f"{source} → {target}")


@contextmanager
def watching() -> Iterator[Watch]:
    """Bars on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield Lines()
        return
    name = TextColumn("{task.description}", markup=False)
    with Progress(name, BarColumn(), TextColumn("{task.fields[stage]}"), TimeElapsedColumn(), console=console) as shown:
        yield Bars(shown)
