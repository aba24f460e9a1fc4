"""What the names on the command line stand for."""

import os
from pathlib import Path

import pytest

from app.shell.sources import MAX_STEM, Failure, Url, expand, shown


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    names = ("a.jpg", "b.PNG", "notes.txt", "a-cutout.png", ".hidden.jpg", "sub/c.webp", "sub/deep/d.bmp", ".git/e.jpg")
    for name in (*names, "sub/out/a-cutout.jpg", "sub/out/mine.jpg"):
        path = tmp_path / "pics" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")
    (tmp_path / "pics" / "sub" / "round").symlink_to(tmp_path / "pics")
    return tmp_path


def found(*texts: str, recursive: bool = False, leave_out: str | None = None) -> list[tuple[str, str | None]]:
    some, failures = expand(texts, recursive=recursive, leave_out=leave_out)
    assert not failures
    return [(str(one.source), None if one.below is None else str(one.below)) for one in some]


def reason(text: str) -> str:
    some, failures = expand([text], recursive=False, leave_out=None)
    assert not some
    return str(failures[0])


@pytest.mark.usefixtures("tree")
def test_a_folder_stands_for_its_pictures() -> None:
    assert found("pics") == [("pics/a.jpg", "."), ("pics/b.PNG", ".")]


@pytest.mark.usefixtures("tree")
def test_recursively_for_those_below_it_too_but_for_the_results() -> None:
    assert found("pics", recursive=True, leave_out="pics/sub/out") == [
        ("pics/a.jpg", "."),
        ("pics/b.PNG", "."),
        ("pics/sub/c.webp", "sub"),
        ("pics/sub/deep/d.bmp", "sub/deep"),
    ]
    assert ("pics/sub/out/mine.jpg", "sub/out") in found("pics", recursive=True)


@pytest.mark.usefixtures("tree")
def test_the_named_folder_may_take_the_results() -> None:
    assert found("pics", leave_out="pics/") == found("pics")


@pytest.mark.usefixtures("tree")
def test_a_pattern_that_the_shell_has_left_alone() -> None:
    assert found("pics/*.jpg") == [("pics/a.jpg", ".")]
    assert found("pics/*/[c-z].*") == [("pics/sub/c.webp", "sub")]
    assert ("pics/sub/deep/d.bmp", "sub/deep") in found("pics/s*/**/*.bmp")
    assert reason("pics/*.gif") == "pics/*.gif: Nothing matches"


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tree: Path) -> None:
    (tree / "[1].jpg").write_bytes(b"picture")
    assert found("[1].jpg") == [("[1].jpg", None)]


@pytest.mark.usefixtures("tree")
def test_results_that_the_shell_names_along_with_their_pictures_are_left_out() -> None:
    assert found("pics/a.jpg", "pics/a-cutout.png") == [("pics/a.jpg", None)]
    assert found("pics/a-cutout.png") == [("pics/a-cutout.png", None)]


def test_a_folder_without_pictures(tree: Path) -> None:
    (tree / "empty").mkdir()
    assert reason("empty").startswith("empty: There is no picture in this folder; --recursive")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_told(tree: Path) -> None:
    (tree / "pics").chmod(0)
    assert reason("pics") == "pics: Permission denied"
    (tree / "pics").chmod(0o700)


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("https://example.com/a/cat.jpg?size=2", "cat"),
        ("HTTP://example.com/", "picture"),
        ("https://example.com/..%2F..%2Fetc%2Fcat.png", "-..-etc-cat"),
        ("https://example.com/.bashrc", "bashrc"),
        ("https://example.com/%1b%5b31m.png", "[31m"),
        ("https://example.com/" + "%C3%BC" * 200, "ü" * (MAX_STEM // 2)),
    ],
)
def test_a_url_names_its_result(text: str, stem: str) -> None:
    some, failures = expand([text], recursive=False, leave_out=None)
    assert not failures
    assert some[0].source == Url(text)
    assert some[0].source.stem == stem


def test_a_url_that_is_none() -> None:
    assert reason("http://exa mple/").startswith("http://exa mple/: The URL must begin with ")


def test_a_name_cannot_steer_the_terminal() -> None:
    assert shown(Path("a\x1b[31m\udcff.jpg")) == "a?[31m?.jpg"
    assert str(Failure("a\nb", "No")) == "a?b: No"
