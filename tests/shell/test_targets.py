"""The names of the results, and what is refused before any work."""

import os
from pathlib import Path

import pytest

from app.core.options import ResultFormat
from app.shell.errors import UsageProblem
from app.shell.sources import Found, Url
from app.shell.targets import Job, format_of, plan

PNG = ResultFormat.PNG
OLD, NEW = 1_000_000_000, 2_000_000_000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "a.png", "b.jpg", "ü b.JPEG"):
        (tmp_path / name).write_bytes(b"picture")
    (tmp_path / "out").mkdir()
    return tmp_path


def only(source: str, output: str | None = None, *, force: bool = False, format_: str = "png") -> Job:
    planned = plan([Found(Path(source))], output, ResultFormat(format_), force=force)
    assert (planned.failures, planned.there) == ([], 0)
    return planned.jobs[0]


def reason(source: str, output: str | None = None, *, force: bool = False) -> str:
    planned = plan([Found(Path(source))], output, PNG, force=force)
    assert (planned.jobs, planned.there) == ([], 0)
    return str(planned.failures[0])


def below(*names: str, output: str | None = "new", format_: ResultFormat | None = PNG) -> list[str]:
    """The targets of pictures that were found in the folder `in`."""
    for name in names:
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        Path("in", name).write_bytes(b"picture")
    found = [Found(Path("in", name), Path(name).parent) for name in names]
    return [str(job.target) for job in plan(found, output, format_, force=False).jobs]


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
        (None, None, None),
        (None, "webp", "webp"),
        ("out", "webp", "webp"),
        ("new.webp/", None, None),
        ("x.webp", None, "webp"),
        ("x.WEBP", None, "webp"),
        ("x.jpeg", None, "jpg"),
        ("x.jpeg", "jpg", "jpg"),
        ("x.jpg", "jpeg", "jpeg"),
        ("x.zip", None, "zip"),
        ("noending", None, None),
        ("noending", "zip", "zip"),
        ("x.v2", None, None),
    ],
)
def test_the_format_is_what_is_asked_for_or_what_the_name_says(
    output: str | None, asked: str | None, format_: str | None
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
        plan([Found(Path(source)) for source in sources], output, PNG, force=True)


@pytest.mark.usefixtures("folder")
def test_pictures_of_a_folder_keep_their_tree() -> None:
    assert below("a.jpg", "sub/a.jpg") == ["new/a-cutout.png", "new/sub/a-cutout.png"]
    assert below("a.jpg", "sub/a.jpg", output=None) == ["in/a-cutout.png", "in/sub/a-cutout.png"]
    assert below("one.jpg") == ["new/one-cutout.png"]  # a folder, however few there are


@pytest.mark.usefixtures("folder")
def test_pictures_of_a_folder_that_differ_in_their_endings_keep_these() -> None:
    assert below("a.jpg", "a.png", "b.png") == ["new/a.jpg-cutout.png", "new/a.png-cutout.png", "new/b-cutout.png"]


@pytest.mark.usefixtures("folder")
def test_several_go_into_a_folder_that_is_not_there_yet() -> None:
    planned = plan([Found(Path("a.jpg")), Found(Path("b.jpg"))], "new", PNG, force=False)
    assert [job.target for job in planned.jobs] == [Path("new/a-cutout.png"), Path("new/b-cutout.png")]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("output", ["x.png", "b.jpg"])
def test_one_file_is_not_for_several(output: str) -> None:
    with pytest.raises(UsageProblem, match="names one file for 2 pictures"):
        plan([Found(Path("a.jpg")), Found(Path("a.png"))], output, PNG, force=True)


def dated(path: Path, seconds: int) -> None:
    path.touch()
    os.utime(path, (seconds, seconds))


@pytest.mark.parametrize("output", [None, "a-cutout.png"])
def test_what_is_there_and_younger_is_left_alone(folder: Path, output: str | None) -> None:
    dated(folder / "a.jpg", OLD)
    dated(folder / "a-cutout.png", NEW)
    planned = plan([Found(Path("a.jpg")), Found(Path("b.jpg"))][: 1 if output else 2], output, PNG, force=False)
    assert (len(planned.jobs), planned.failures, planned.there) == (0 if output else 1, [], 1)
    assert only("a.jpg", output, force=True).force


def test_what_is_there_and_older_is_replaced_only_by_force(folder: Path) -> None:
    dated(folder / "a-cutout.png", OLD)
    dated(folder / "a.jpg", NEW)
    assert reason("a.jpg") == "a.jpg: a-cutout.png exists already and is older than its picture; --force replaces it"
    assert only("a.jpg", force=True).force


def test_the_result_of_a_url_lies_where_we_stand(folder: Path) -> None:
    url = Found(Url("https://example.com/cat.jpg"))
    assert [job.target for job in plan([url], None, PNG, force=False).jobs] == [Path("cat-cutout.png")]
    (folder / "cat-cutout.png").touch()
    assert plan([url], None, PNG, force=False).there == 1


def test_a_format_that_only_the_result_will_tell(folder: Path) -> None:
    planned = plan([Found(Path("a.jpg"))], None, None, force=False)
    assert planned.jobs == [Job(Path("a.jpg"), Path("a-cutout"), ending=False)]
    dated(folder / "a.jpg", OLD)
    dated(folder / "a-cutout.webp", NEW)
    assert plan([Found(Path("a.jpg"))], None, None, force=False).there == 1
    (folder / "a-cutout.zip").mkdir()
    assert "is a folder" in str(plan([Found(Path("a.jpg"))], None, None, force=True).failures[0])


@pytest.mark.usefixtures("folder")
def test_pictures_that_cannot_be_read() -> None:
    assert reason("nope.jpg") == "nope.jpg: There is no such file"
    assert reason("out") == "out: Is not an ordinary file"
    assert reason("a.jpg/x.jpg") == "a.jpg/x.jpg: Not a directory"


@pytest.mark.usefixtures("folder")
def test_one_that_cannot_be_done_does_not_stop_the_others() -> None:
    names = ("a.jpg", "nope.jpg", "b.jpg")
    planned = plan([Found(Path(name)) for name in names], None, PNG, force=False)
    assert [job.source for job in planned.jobs] == [Path("a.jpg"), Path("b.jpg")]
    assert [failure.source for failure in planned.failures] == [Path("nope.jpg")]


def test_a_place_that_cannot_be_a_folder(folder: Path) -> None:
    (folder / "file").write_text("")
    assert reason("a.jpg", "file/x.png").startswith("a.jpg: ")


def test_what_is_no_ordinary_file_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    photo, pipe = tmp_path / "photo.jpg", tmp_path / "pipe"
    photo.write_bytes(b"x")
    os.mkfifo(pipe)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    for source, output in ((pipe, None), (photo, str(pipe)), (photo, str(tmp_path / "nowhere"))):
        planned = plan([Found(source)], output, PNG, force=True)
        assert planned.jobs == []
        assert "ordinary file" in str(planned.failures[0])
