"""The names of the results, and what is refused before any work."""

import os
from pathlib import Path

import pytest

from app.core.options import ResultFormat
from app.shell.errors import UsageProblem
from app.shell.targets import Job, format_of, plan

PNG = ResultFormat.PNG


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "a.png", "b.jpg", "ü b.JPEG"):
        (tmp_path / name).write_bytes(b"picture")
    (tmp_path / "out").mkdir()
    return tmp_path


def only(source: str, output: str | None = None, *, force: bool = False, format_: str = "png") -> Job:
    jobs, failures = plan([Path(source)], output, ResultFormat(format_), force=force)
    assert not failures
    return jobs[0]


def reason(source: str, output: str | None = None, *, force: bool = False) -> str:
    jobs, failures = plan([Path(source)], output, PNG, force=force)
    assert not jobs
    return str(failures[0])


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("source", "output", "target"),
    [
        ("a.jpg", None, "a-cutout.png"),
        ("ü b.JPEG", None, "ü b-cutout.png"),
        ("a.jpg", "out", "out/a-cutout.png"),
        ("a.jpg", "new/", "new/a-cutout.png"),
        ("a.jpg", "x.png", "x.png"),
        ("a.jpg", "new/x.png", "new/x.png"),
        ("a.jpg", "noending", "noending"),
    ],
)
def test_where_a_result_goes(source: str, output: str | None, target: str) -> None:
    assert only(source, output).target == Path(target)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("format_", ["webp", "jpg", "zip"])
def test_a_result_is_named_after_its_format(format_: str) -> None:
    assert only("a.png", format_=format_).target == Path(f"a-cutout.{format_}")
    assert only("a.png", "out", format_=format_).target == Path(f"out/a-cutout.{format_}")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("output", "asked", "format_"),
    [
        (None, None, "png"),
        (None, "webp", "webp"),
        ("out", "webp", "webp"),
        ("new.webp/", None, "png"),
        ("x.webp", None, "webp"),
        ("x.WEBP", None, "webp"),
        ("x.jpeg", None, "jpg"),
        ("x.jpeg", "jpg", "jpg"),
        ("x.jpg", "jpeg", "jpeg"),
        ("x.zip", None, "zip"),
        ("noending", None, "png"),
        ("noending", "zip", "zip"),
        ("x.v2", None, "png"),
    ],
)
def test_the_format_is_what_is_asked_for_or_what_the_name_says(
    output: str | None, asked: str | None, format_: str
) -> None:
    assert format_of(output, asked) == format_


@pytest.mark.parametrize(
    ("output", "asked", "said"),
    [
        ("x.webp", "png", "--output x.webp contradicts --format png."),
        ("x.png", "gif", "--output x.png contradicts --format gif."),
        ("x.gif", None, "--output x.gif: a result is png, webp, jpg, zip, and nothing else."),
        ("x.TIFF", "png", "--output x.TIFF: a result is png, webp, jpg, zip, and nothing else."),
    ],
)
def test_a_name_that_contradicts_the_format(output: str, asked: str | None, said: str) -> None:
    with pytest.raises(UsageProblem) as problem:
        format_of(output, asked)
    assert str(problem.value) == said


def test_a_result_lies_beside_its_picture_and_not_where_we_stand(folder: Path) -> None:
    (folder / "out" / "c.jpg").write_bytes(b"picture")
    assert only("out/c.jpg").target == Path("out/c-cutout.png")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("sources", "output"),
    [
        (["a.jpg", "a.png"], None),
        (["a.jpg", "./a.jpg"], None),
        (["a.jpg", "b.jpg"], "x.png"),
        (["a.jpg"], "a.png/../a.jpg"),
        (["a.png"], "a.png"),
    ],
)
def test_names_that_contradict_one_another(sources: list[str], output: str | None) -> None:
    with pytest.raises(UsageProblem):
        plan([Path(source) for source in sources], output, PNG, force=True)


def test_what_exists_is_kept_unless_it_is_forced(folder: Path) -> None:
    (folder / "a-cutout.png").write_text("mine")
    assert reason("a.jpg") == "a.jpg: a-cutout.png exists already; --force replaces it"
    assert only("a.jpg", force=True).force


@pytest.mark.usefixtures("folder")
def test_pictures_that_cannot_be_read() -> None:
    assert reason("nope.jpg") == "nope.jpg: There is no such file"
    assert reason("out") == "out: Is a folder; name the pictures in it"
    assert reason("a.jpg/x.jpg") == "a.jpg/x.jpg: Not a directory"


@pytest.mark.usefixtures("folder")
def test_one_that_cannot_be_done_does_not_stop_the_others() -> None:
    jobs, failures = plan([Path("a.jpg"), Path("nope.jpg"), Path("b.jpg")], None, PNG, force=False)
    assert [job.source for job in jobs] == [Path("a.jpg"), Path("b.jpg")]
    assert [failure.source for failure in failures] == [Path("nope.jpg")]


def test_a_place_that_cannot_be_a_folder(folder: Path) -> None:
    (folder / "file").write_text("")
    assert reason("a.jpg", "file/x.png").startswith("a.jpg: ")


def test_what_is_no_ordinary_file_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    photo, pipe = tmp_path / "photo.jpg", tmp_path / "pipe"
    photo.write_bytes(b"x")
    os.mkfifo(pipe)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    for source, output in ((pipe, None), (photo, str(pipe)), (photo, str(tmp_path / "nowhere"))):
        jobs, failures = plan([source], output, PNG, force=True)
        assert jobs == []
        assert "ordinary file" in str(failures[0])
