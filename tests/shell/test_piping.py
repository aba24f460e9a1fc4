"""Standard input and output in the place of files."""

import io
import os
import sys
from pathlib import Path

import pytest

from app.core.errors import AppError
from app.shell.errors import UsageProblem
from app.shell.piping import check, plain, streams
from app.shell.sources import Failure

BYTES = bytes(range(256)) * 1000 + b"\r\n\x1a"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_picture_comes_and_goes_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BYTES)))
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with streams(["-"], None) as ends:
            (picture,) = map(Path, ends.pictures)
            assert picture.read_bytes() == BYTES
            assert ends.told(Failure(picture, "No")) == "Standard input: No"
            assert ends.output is not None
            Path(ends.output).write_bytes(BYTES[::-1])
            ends.send()
    assert (tmp_path / "out").read_bytes() == BYTES[::-1]
    assert not picture.exists()


def test_one_end_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BYTES)))
    with streams(["-"], "x.png") as ends:
        assert (ends.output, ends.result, ends.is_stream) == ("x.png", None, True)
    with streams(["a.jpg"], "-") as ends:
        assert (ends.pictures, ends.output) == (["a.jpg"], str(ends.result))
    with streams(["a.jpg"], "x.png") as ends:
        assert (ends.pictures, ends.output, ends.is_stream) == (["a.jpg"], "x.png", False)


def test_a_reader_that_has_gone_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out, streams(["a.jpg"], "-") as ends:
        monkeypatch.setattr(sys, "stdout", out)
        assert ends.result is not None
        ends.result.write_bytes(BYTES)
        with pytest.raises(AppError, match="Nobody reads"):
            ends.send()


def test_pictures_are_nothing_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys, "stdout", Terminal())
    check(["-"], "x.png")
    for pictures, output in ((["-"], None), (["-"], "-"), (["a.jpg"], "-")):
        with pytest.raises(UsageProblem, match=r"^Standard output is the terminal: "):
            check(pictures, output)
    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(UsageProblem, match=r"^Standard input is the terminal: "):
        check(["-"], "x.png")


@pytest.mark.parametrize(("pictures", "output"), [(["-", "a.jpg"], "out/"), (["-", "-"], None), (["a", "b"], "-")])
def test_a_stream_is_for_one_picture(pictures: list[str], output: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(UsageProblem):
        check(pictures, output)


def test_a_stream_has_no_name() -> None:
    assert (plain("-"), plain("x.png"), plain(None)) == (None, "x.png", None)
