"""Which picture becomes which file: the naming rules of `quickbg remove`, settled before any work."""

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.core.options import ResultFormat
from app.shell.errors import FileProblem, UsageProblem

_NO_RESULT = {".bmp", ".gif", ".tif", ".tiff", ".avif"}


@dataclass(frozen=True)
class Job:
    """One picture and where its cut-out goes. `force`: what lies there is replaced."""

    source: Path
    target: Path
    force: bool = False


@dataclass(frozen=True)
class Failure:
    """Why there is no cut-out of a picture."""

    source: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


def format_of(output: str | None, asked: str | None) -> str:
    """The format by its name: the one asked for, else what the name of the one file says, else PNG.

    Raises:
        UsageProblem: the two contradict one another, or there is no such result.
    """
    suffix = "" if output is None or _is_folder(output) else Path(output).suffix.lower()
    named = _named(suffix)
    if suffix in _NO_RESULT:
        raise UsageProblem(f"--output {output}: a result is {', '.join(ResultFormat)}, and nothing else.")
    if asked is None:
        return named or ResultFormat.PNG
    if named is not None and named != _named(f".{asked.lower()}"):
        raise UsageProblem(f"--output {output} contradicts --format {asked}.")
    return asked


def _named(suffix: str) -> ResultFormat | None:
    with suppress(ValueError):
        return ResultFormat(suffix.removeprefix("."))
    return None


def plan(
    sources: Sequence[Path], output: str | None, format_: ResultFormat, *, force: bool
) -> tuple[list[Job], list[Failure]]:
    """What is to be done, and what already cannot be.

    Args:
        output: None, and each cut-out lies beside its picture as `NAME-cutout.FORMAT`. Else a folder (it exists, or
            the text ends in a slash), or the one file to write.

    Raises:
        UsageProblem: the names contradict one another.
    """
    jobs = [Job(source, _target(source, output, format_), force) for source in sources]
    _refuse_contradictions(jobs, output)
    good: list[Job] = []
    failures: list[Failure] = []
    for job in jobs:
        try:
            _check(job)
            good.append(job)
        except FileProblem as problem:
            failures.append(Failure(job.source, str(problem)))
    return good, failures


def _is_folder(output: str) -> bool:
    return output.endswith("/") or Path(output).is_dir()


def _target(source: Path, output: str | None, format_: ResultFormat) -> Path:
    name = f"{source.stem}-cutout.{format_}"
    if output is None:
        return source.parent / name
    return Path(output) / name if _is_folder(output) else Path(output)


def _refuse_contradictions(jobs: list[Job], output: str | None) -> None:
    if output is not None and not _is_folder(output) and len(jobs) > 1:
        raise UsageProblem(f"--output {output} names one file for {len(jobs)} pictures; a folder ends in /.")
    times = Counter(_same(job.target) for job in jobs)
    for job in jobs:
        if times[_same(job.target)] > 1:
            raise UsageProblem(f"Two pictures would both become {job.target}.")
        if any(_same(job.target) == _same(other.source) for other in jobs):
            raise UsageProblem(f"{job.target} is itself one of the pictures.")


def _same(path: Path) -> Path:
    return path.resolve()


def _check_target(job: Job) -> None:
    if job.target.is_dir():
        raise FileProblem(f"{job.target} is a folder")
    if os.path.lexists(job.target):
        if not job.target.is_file():  # a device, or a link to nowhere
            raise FileProblem(f"{job.target} is not an ordinary file")
        if not job.force:
            raise FileProblem(f"{job.target} exists already; --force replaces it")
    job.target.parent.mkdir(parents=True, exist_ok=True)


def _check(job: Job) -> None:
    """What can be said of one picture without reading it.

    Raises:
        FileProblem: it cannot be read, or its cut-out could not be written.
    """
    try:
        if job.source.is_dir():
            raise FileProblem("Is a folder; name the pictures in it")
        if job.source.exists() and not job.source.is_file():
            raise FileProblem("Is not an ordinary file")
        with job.source.open("rb"):
            pass
        _check_target(job)
    except FileNotFoundError as error:
        raise FileProblem("There is no such file") from error
    except PermissionError as error:
        raise FileProblem("Permission denied") from error
    except OSError as error:
        raise FileProblem(error.strerror or str(error)) from error
    if not os.access(job.target.parent, os.W_OK):
        raise FileProblem(f"The folder {job.target.parent} cannot be written")
