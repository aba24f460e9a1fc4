"""Many pictures at once: each fares on its own."""

from pathlib import Path
from typing import Any

import pytest

from app.shell import removal
from app.shell.client import TaskView, Tokens
from app.shell.display import Lines
from app.shell.errors import FileProblem
from app.shell.targets import Job


class FakeClient:
    """Fails where the picture's name says so."""

    def __init__(self, *_: Any) -> None:
        self.closed = False

    def submit(self, source: Path, options: dict[str, str]) -> str:
        if source.stem == "refused":
            raise FileProblem("Unsupported image format: GIF")
        if source.stem == "fault":
            raise ZeroDivisionError("ours")
        return source.stem

    def wait(self, task_id: str, on_change: Any) -> TaskView:
        if task_id == "failed":
            return TaskView("failed", None, 70, "The image has no clear subject.")
        return TaskView("completed", None, 100, None)

    def download(self, task_id: str, target: Path, *, force: bool) -> None:
        target.write_text(task_id)

    def close(self) -> None:
        self.closed = True


def test_failures_stop_nobody_else_and_come_in_the_order_of_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "Client", FakeClient)
    names = ["failed", "one", "refused", "two", "fault", "three"]
    jobs = [Job(Path(f"{name}.jpg"), tmp_path / f"{name}.png") for name in names]

    failures = removal.remove("http://service", Tokens(lambda: "t"), jobs, {}, Lines())

    assert [str(failure) for failure in failures] == [
        "failed.jpg: The image has no clear subject.",
        "refused.jpg: Unsupported image format: GIF",
        "fault.jpg: Unexpected ZeroDivisionError: ours",
    ]
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["one", "three", "two"]
