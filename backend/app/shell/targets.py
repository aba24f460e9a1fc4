"""Which picture becomes which file: the naming rules of `quickbg remove`, settled before any work."""

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.core.options import ResultFormat
from app.shell.errors import FileProblem, UsageProblem
from app.shell.sources import RESULT, Failure, Found, Source

_NO_RESULT = {".bmp", ".gif", ".tif", ".tiff", ".avif"}


@dataclass(frozen=True)
class Job:
    """One picture and where its cut-out goes.

    `force`: what lies there is replaced. `ending`: False when only the result will tell its format, as with a recipe;
    the name of the target goes without it until then.
    """

    source: Source
    target: Path
    force: bool = False
    ending: bool = True

    @property
    def places(self) -> list[Path]:
        """Every file that the target may become."""
        return [self.target] if self.ending else [with_ending(self.target, format_) for format_ in ResultFormat]


@dataclass
class Plan:
    """What is to be done, what already cannot be, and how many results are there already."""

    jobs: list[Job] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    there: int = 0


def with_ending(target: Path, format_: ResultFormat) -> Path:
    return target.with_name(f"{target.name}.{format_}")


def format_of(output: str | None, asked: str | None) -> str | None:
    """The format by its name: the one asked for, or what the name of the one file says, or None.

    Raises:
        UsageProblem: the two contradict one another, or there is no such result.
    """
    suffix = "" if output is None or _is_folder(output) else Path(output).suffix.lower()
    named = _named(suffix)
    if suffix in _NO_RESULT:
        raise UsageProblem(f"--output {output}: a result is {', '.join(ResultFormat)}, and nothing else.")
    if named is not None and asked is not None and named != _named(f".{asked.lower()}"):
        raise UsageProblem(f"--output {output} contradicts --format {asked}.")
    return asked or named


def _named(suffix: str) -> ResultFormat | None:
    with suppress(ValueError):
        return ResultFormat(suffix.removeprefix("."))
    return None


def plan(found: Sequence[Found], output: str | None, format_: ResultFormat | None, *, force: bool) -> Plan:
    """What is to be done with the pictures.

    Args:
        output: None, and each cut-out lies beside its picture as `NAME-cutout.FORMAT`. Else a folder (it exists, the
            text ends in a slash, or there are many pictures), or the one file to write.
        format_: None when only the results will tell.

    Raises:
        UsageProblem: the names contradict one another.
    """
    jobs = name_all(found, output, format_, force=force)
    _refuse_contradictions(jobs)
    made = Plan()
    for job in jobs:
        try:
            if _is_there(job):
                made.there += 1
            else:
                made.jobs.append(job)
        except FileProblem as problem:
            made.failures.append(Failure(job.source, str(problem)))
    return made


def name_all(found: Sequence[Found], output: str | None, format_: ResultFormat | None, *, force: bool) -> list[Job]:
    """Each picture's target. Two of a folder that differ in their endings only keep these: `a.jpg-cutout.png`."""
    folder = None if output is None else _folder(output, found)
    if output is not None and folder is None:
        if len(found) > 1:
            raise UsageProblem(f"--output {output} names one file for {len(found)} pictures; a folder ends in /.")
        return [Job(one.source, Path(output), force) for one in found]
    ending = f".{format_}" if format_ else ""
    targets = [_target(one, one.source.stem, folder, ending) for one in found]
    times = Counter(targets)
    for i, (one, target) in enumerate(zip(found, targets, strict=True)):
        if one.below is not None and times[target] > 1:
            targets[i] = _target(one, one.source.name, folder, ending)
    return [Job(one.source, to, force, bool(format_)) for one, to in zip(found, targets, strict=True)]


def _target(one: Found, stem: str, folder: Path | None, ending: str) -> Path:
    where = one.source.parent if folder is None else folder / (one.below or "")
    return where / f"{stem}{RESULT}{ending}"


def _is_folder(output: str) -> bool:
    return output.endswith("/") or Path(output).is_dir()


def _folder(output: str, found: Sequence[Found]) -> Path | None:
    """The folder that is meant; None when it is one file."""
    many = len(found) > 1 or any(one.below is not None for one in found)
    # A name such as x.png is that of a file, however many there are; and so is what is one already.
    is_file = bool(_named(Path(output).suffix.lower())) or os.path.lexists(output)
    return Path(output) if _is_folder(output) or (many and not is_file) else None


def _refuse_contradictions(jobs: list[Job]) -> None:
    times = Counter(_same(job.target) for job in jobs)
    sources = {_same(job.source) for job in jobs if isinstance(job.source, Path)}
    for job in jobs:
        if times[_same(job.target)] > 1:
            raise UsageProblem(f"Two pictures would both become {job.target}.")
        for place in job.places:
            if _same(place) in sources:
                raise UsageProblem(f"{place} is itself one of the pictures.")


def _same(path: Path) -> Path:
    return path.resolve()


def _is_there(job: Job) -> bool:
    """Whether the result is there already and younger than its picture. All that can be said without reading it.

    Raises:
        FileProblem: the picture cannot be read, or its cut-out could not be written.
    """
    try:
        if isinstance(job.source, Path):
            _check_source(job.source)
        if _is_kept(job):
            return True
        job.target.parent.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:
        raise FileProblem("There is no such file") from error
    except PermissionError as error:
        raise FileProblem("Permission denied") from error
    except OSError as error:
        raise FileProblem(error.strerror or str(error)) from error
    if not os.access(job.target.parent, os.W_OK):
        raise FileProblem(f"The folder {job.target.parent} cannot be written")
    return False


def _check_source(source: Path) -> None:
    if source.exists() and not source.is_file():
        raise FileProblem("Is not an ordinary file")
    with source.open("rb"):
        pass


def _is_kept(job: Job) -> bool:
    for place in job.places:
        if place.is_dir():
            raise FileProblem(f"{place} is a folder")
        if os.path.lexists(place) and not place.is_file():  # a device, or a link to nowhere
            raise FileProblem(f"{place} is not an ordinary file")
    if job.force or not any(place.exists() for place in job.places):
        return False
    if not is_done(job):
        # It may have been worked on by hand since; only who owns it can know.
        raise FileProblem(f"{job.target.name} exists already and is older than its picture; --force replaces it")
    return True


def is_done(job: Job) -> bool:
    """Whether a result is there that is not older than its picture. Raises OSError when the picture is gone."""
    results = [place.stat().st_mtime_ns for place in job.places if place.exists()]
    # When the picture of a URL was made, nobody knows.
    made = job.source.stat().st_mtime_ns if isinstance(job.source, Path) else 0
    return bool(results) and max(results) >= made
