"""The bar over many pictures, and the line at the end."""

from pathlib import Path

import pytest
from rich.progress import Progress

from app.shell.client import TaskView
from app.shell.display import Bar, summary


def test_one_bar_counts_those_at_work_by_their_progress() -> None:
    progress = Progress(disable=True)
    bar = Bar(progress, 3)
    one, two = Path("one.jpg"), Path("two.jpg")
    bar.begun(one)
    (task,) = progress.tasks
    assert (task.completed, task.total, task.fields["doing"]) == (0, 3, "sending")
    bar.begun(two)
    bar.changed(one, TaskView("processing", "inferring", 20, None))
    assert (task.completed, task.fields["over"], task.fields["doing"]) == (0.2, 0, "2 at work")
    bar.ended(one, None)
    bar.changed(two, TaskView("processing", "encoding", 80, None))
    assert (task.completed, task.fields["over"], task.fields["doing"]) == (1.8, 1, "encoding")
    bar.ended(two, None)
    assert (task.completed, task.fields["over"], task.fields["doing"]) == (2, 2, "")


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((1, 0, 0), ""),
        ((0, 0, 1), ""),
        ((2, 0, 0), "2 cut out.\n"),
        ((0, 5, 0), "5 there already.\n"),
        ((3, 2, 1), "3 cut out, 2 there already, 1 failed.\n"),
        ((0, 0, 2), "0 cut out, 2 failed.\n"),
    ],
)
def test_the_summary(counts: tuple[int, int, int], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    summary(*counts)
    assert capsys.readouterr().err == said
