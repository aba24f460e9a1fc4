"""`-`: a picture from standard input, a result to standard output."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from app.core.errors import AppError
from app.shell.errors import UsageProblem
from app.shell.sources import Failure

STREAM = "-"


@dataclass(frozen=True)
class Ends:
    """What stands in for the streams: files, which every other step can deal with."""

    pictures: Sequence[str]
    output: str | None
    taken: Path | None = None
    result: Path | None = None

    @property
    def is_stream(self) -> bool:
        return bool(self.taken or self.result)

    def told(self, failure: Failure) -> str:
        """Without the name of a file that nobody has named."""
        return str(Failure("Standard input", failure.reason) if failure.source == self.taken else failure)

    def send(self) -> None:
        """Once it is done: the result, to standard output if it was asked for there."""
        if self.result is not None:
            _send(self.result)


def plain(output: str | None) -> str | None:
    """What of an output can be a name."""
    return None if output == STREAM else output


def check(pictures: Sequence[str], output: str | None) -> None:
    """What can be said before anything is read.

    Raises:
        UsageProblem: the streams cannot be used so.
    """
    if STREAM in pictures and len(pictures) > 1:
        raise UsageProblem("- is standard input, and stands alone.")
    if STREAM in pictures and sys.stdin.isatty():
        raise UsageProblem("Standard input is the terminal: send a picture into it (quickbg remove - < photo.jpg).")
    if _to_stream(pictures, output) and len(pictures) > 1:
        raise UsageProblem("--output - is standard output, which takes one picture.")
    if _to_stream(pictures, output) and sys.stdout.isatty():
        raise UsageProblem("Standard output is the terminal: send the result on (> cutout.png), or name it with -o.")


@contextmanager
def streams(pictures: Sequence[str], output: str | None) -> Iterator[Ends]:
    """The files in the place of the streams; without streams, what was named."""
    with TemporaryDirectory(prefix="quickbg-") as folder:
        taken = result = None
        if _to_stream(pictures, output):
            result = Path(folder) / "result"
            output = str(result)
        if STREAM in pictures:
            taken = Path(folder) / "picture"
            pictures = [str(_taken(taken))]
        yield Ends(pictures, output, taken, result)


def _to_stream(pictures: Sequence[str], output: str | None) -> bool:
    return output == STREAM or (output is None and STREAM in pictures)


def _taken(path: Path) -> Path:
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path


def _send(result: Path) -> None:
    try:
        # Not sys.stdout itself, which would complain again when the program ends.
        with result.open("rb") as file, open(sys.stdout.fileno(), "wb", closefd=False) as out:
            shutil.copyfileobj(file, out)
    except BrokenPipeError as error:
        raise AppError("Nobody reads standard output any more.") from error
