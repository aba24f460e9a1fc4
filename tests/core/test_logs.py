"""Log lines and the metrics file."""

import json
import logging
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.contextvars import bound_contextvars

from app.core.logging import configure_logging, get_logger
from app.core.metrics import MetricsLog


@pytest.fixture
def _logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging")
def test_our_lines_and_the_libraries_are_json_with_the_context(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    with bound_contextvars(task_id="t-1"):
        get_logger("app.test").info("task_completed", duration_s=1.5, password="hunter2")
        logging.getLogger("library").warning("spoke of\n%s", "lines")
    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["task_id"], ours["duration_s"], ours["level"]) == ("task_completed", "t-1", 1.5, "info")
    assert ours["password"] == "***"
    assert (theirs["event"], theirs["task_id"], theirs["logger"]) == ("spoke of\nlines", "t-1", "library")


@pytest.mark.usefixtures("_logging")
def test_what_messages_of_celery_hold_is_in_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    data = {"id": "1", "args": "('https://example.com/?token=x',)", "kwargs": {"callback_url": "https://example.com/"}}
    logging.getLogger("celery.worker.strategy").info("Task received", extra={"data": data})
    assert json.loads(capsys.readouterr().err)["data"] == {"id": "1"}


@pytest.mark.usefixtures("_logging")
def test_a_traceback_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    try:
        raise RuntimeError("inside")
    except RuntimeError:
        get_logger("app.test").exception("attempt_crashed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "RuntimeError: inside" in json.loads(line)["exception"]


def write_many(folder: Path, writer: int) -> None:
    metrics = MetricsLog(folder, max_bytes=2_000, keep=1_000)
    for number in range(50):
        metrics.write({"writer": writer, "number": number})


def test_several_processes_rotate_the_metrics_and_lose_no_line(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(tmp_path, writer)) for writer in range(3)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
        assert process.exitcode == 0
    files = list(tmp_path.glob("metrics.log*"))
    assert len(files) > 3
    assert all(file.stat().st_size <= 2_000 for file in files)
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert {(line["writer"], line["number"]) for line in lines} == {(w, n) for w in range(3) for n in range(50)}
    assert all(isinstance(line["timestamp"], float) for line in lines)


def test_only_so_many_old_files_are_kept(tmp_path: Path) -> None:
    metrics = MetricsLog(tmp_path, max_bytes=100, keep=2)
    for number in range(20):
        metrics.write({"number": number})
    names = {file.name for file in tmp_path.glob("metrics.log*")}
    assert names == {"metrics.log", "metrics.log.1", "metrics.log.2"}
