"""What a person names on the command line, and the pictures that it stands for."""

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from app.core.errors import InvalidRequest
from app.outbound.urls import filename_of

PICTURES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp"}
"""How pictures are called that are looked for in folders. What a named file is, its bytes tell."""

RESULT = "-cutout"
MAX_STEM = 150  # bytes: the name of a file may have 255

Problem = Callable[[OSError], None]


@dataclass(frozen=True)
class Url:
    """A picture that the service fetches."""

    text: str

    @cached_property
    def name(self) -> str:
        """What a file with it would be called; `InvalidUrl` when it is none that can be fetched."""
        last = re.sub(r"[/\\]", "-", filename_of(self.text) or "")
        return "".join(c for c in last if c.isprintable()).lstrip(". ") or "picture"

    @property
    def stem(self) -> str:
        return Path(self.name).stem.encode(errors="replace")[:MAX_STEM].decode(errors="ignore")

    @property
    def parent(self) -> Path:
        """Its result lies where we stand."""
        return Path()

    def __str__(self) -> str:
        return self.text


Source = Path | Url


@dataclass(frozen=True)
class Found:
    """A picture. `below`: the folder that it was found in, seen from the one that was named."""

    source: Source
    below: Path | None = None


@dataclass(frozen=True)
class Failure:
    """Why there is no cut-out of a picture."""

    source: Source | str
    reason: str

    def __str__(self) -> str:
        return f"{shown(self.source)}: {self.reason}"


def shown(name: object) -> str:
    """A name that a terminal can be told: whatever would steer it, or is no character at all, is a question mark."""
    return "".join(c if c.isprintable() else "?" for c in str(name))


def expand(texts: Sequence[str], *, recursive: bool, leave_out: str | None) -> tuple[list[Found], list[Failure]]:
    """The pictures that were named, and the names that stand for none.

    Args:
        recursive: the subfolders of a folder count, too.
        leave_out: the folder of the results, which is not looked into where it lies in another one.
    """
    found: list[Found] = []
    failures: list[Failure] = []
    for text in texts:
        some, wrong = _expand_one(text, recursive=recursive, leave_out=Path(leave_out) if leave_out else None)
        found += some
        failures += wrong
    # `*.png` of the shell names the results of an earlier call along with their pictures.
    stems = {(one.source.parent, one.source.stem) for one in found}
    return [one for one in found if not _is_result_of_another(one.source, stems)], failures


def _expand_one(text: str, *, recursive: bool, leave_out: Path | None) -> tuple[list[Found], list[Failure]]:
    path = Path(text)
    if re.match(r"https?://", text, re.IGNORECASE):
        return _url(text)
    if path.is_dir():
        failures: list[Failure] = []
        note = _noting(failures)
        inside = [Found(one, one.parent.relative_to(path)) for one in pictures_in(path, note, leave_out, recursive)]
        if not inside and not failures:
            hint = "" if recursive else "; --recursive looks into its subfolders, too"
            failures.append(Failure(text, f"There is no picture in this folder{hint}"))
        return inside, failures
    if glob.has_magic(text) and not os.path.lexists(path):
        base = _base(path)
        # Path.glob would find what is hidden, too.
        matches = [Path(name) for name in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207
        files = [Found(one, one.parent.relative_to(base)) for one in matches if one.is_file() and not _is_result(one)]
        return files, [] if files else [Failure(text, "Nothing matches")]
    return [Found(path)], []


def pictures_in(folder: Path, on_problem: Problem, leave_out: Path | None, recursive: bool) -> Iterator[Path]:
    """The pictures of a folder by their names, sorted; neither what is hidden nor what our own results are called.

    Links to folders are not followed: they may lead round in a circle.
    """
    without = None if leave_out is None else leave_out.resolve()
    for where, folders, files in os.walk(folder, onerror=on_problem):
        here = Path(where)
        below = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        folders[:] = [name for name in below if without is None or (here / name).resolve() != without]
        for name in sorted(files):
            path = here / name
            if path.suffix.lower() in PICTURES and not name.startswith(".") and not _is_result(path):
                yield path


def _noting(failures: list[Failure]) -> Problem:
    return lambda error: failures.append(Failure(str(error.filename), error.strerror or str(error)))


def _url(text: str) -> tuple[list[Found], list[Failure]]:
    url = Url(text)
    try:
        _ = url.name
    except InvalidRequest as error:
        return [], [Failure(url, str(error))]
    return [Found(url)], []


def _base(pattern: Path) -> Path:
    """The folder that a pattern searches."""
    parts = pattern.parent.parts
    plain = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:plain])


def _is_result(path: Path) -> bool:
    return path.stem.endswith(RESULT)


def _is_result_of_another(source: Source, stems: set[tuple[Path, str]]) -> bool:
    if isinstance(source, Url) or not _is_result(source):
        return False
    return (source.parent, source.stem.removesuffix(RESULT)) in stems
