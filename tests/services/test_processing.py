"""One attempt at one task: every way it can end, written in the row."""

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.errors import StorageUnavailable
from app.core.metrics import MetricsLog
from app.core.options import ResultFormat
from app.core.states import TaskStatus
from app.db import tasks
from app.db.base import Sessions
from app.db.models import User
from app.outbound.client import Outbound
from app.services import processing
from app.services.bell import Bell
from app.services.fetching import Fetching
from app.services.mattes import Mattes
from app.services.networks import OtherModels
from app.services.precedence import Nobody, Precedence
from app.services.processing import AttemptTimeout, Processing
from app.services.pulse import Pulse
from app.storage.base import content_type, result_key
from app.storage.memory import MemoryStore
from tests.factories import Silence, ago, change, make_task, row
from tests.pictures import encoded, subject
from tests.services.test_pulse import beating


class DiscEngine:
    """Sees a disc in the middle of every picture; `before` runs first, as a fault or an intrusion."""

    name = "disc"
    precision = "fp32"

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before = before
        self.runs = 0

    def infer(self, blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        self.runs += 1
        self.before()
        y, x = np.mgrid[:1024, :1024]
        return np.where((x - 512) ** 2 + (y - 512) ** 2 < 250**2, 0.98, 0.01).astype(np.float32)


def failing(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def check(true: bool) -> None:
    assert true


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


class Bench:
    """A worker's use case with an engine of choice, on the real database."""

    def __init__(self, settings: Settings, sessions: Sessions, folder: Path) -> None:
        self.settings, self.sessions, self.folder = settings, sessions, folder
        self.store = MemoryStore()
        self.engine = DiscEngine()
        self.pulse = Pulse(sessions, "host:1", settings.timing)
        self.bell: Bell = Silence()
        self.precedence: Precedence = Nobody()
        self.others = OtherModels()

    def task(self, user: User, data: bytes | None = None, **columns: Any) -> UUID:
        task_id = make_task(self.sessions, user.id, **columns)
        key = row(self.sessions, task_id).upload.key
        self.store.put(key, io.BytesIO(encoded(subject(200, 160)) if data is None else data), "image/jpeg")
        return task_id

    def process(self, task_id: UUID) -> None:
        Processing(
            settings=self.settings,
            sessions=self.sessions,
            store=self.store,
            engine=self.engine,
            mattes=Mattes(self.sessions, self.store, "isnet-general-use"),
            fetching=Fetching(self.settings, self.sessions, self.store, Outbound(self.settings), self.bell),
            pulse=self.pulse,
            bell=Silence(),
            metrics=MetricsLog(self.folder),
            worker="host:1",
            precedence=self.precedence,
            others=self.others,
        ).process(task_id)

    def results(self) -> list[str]:
        return [key for key in self.store.objects if key.startswith("processed/")]

    def metrics(self) -> list[dict[str, Any]]:
        path = self.folder / "metrics.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def bench(settings: Settings, sessions: Sessions, tmp_path: Path) -> Bench:
    return Bench(settings, sessions, tmp_path)


def test_a_picture_is_cut_out(bench: Bench, user: User) -> None:
    task_id = bench.task(user)
    bench.process(task_id)
    task = row(bench.sessions, task_id)
    assert (task.status, task.attempt, task.retries, task.progress) == ("completed", 1, 0, 100)
    assert task.result_key == result_key(user.id, task_id, 1, ResultFormat.PNG)
    with Image.open(io.BytesIO(bench.store.get(task.result_key))) as picture:
        assert (picture.mode, picture.size) == ("RGBA", (task.result_width, task.result_height))
    assert task.result_bytes == len(bench.store.get(task.result_key))
    (line,) = bench.metrics()
    assert (line["task_id"], line["status"]) == (str(task_id), "completed")
    assert line["confidence"] == pytest.approx(task.confidence)
    assert line["engine"] == "disc fp32"


def test_how_unsure_it_was_is_in_the_metrics(bench: Bench, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.engine, "infer", lambda blob: np.full((1024, 1024), 0.1, np.float32))
    bench.process(bench.task(user))
    (line,) = bench.metrics()
    assert (line["error_code"], line["confidence"]) == ("unknown_foreground", pytest.approx(0.1, abs=1e-3))


def test_the_options_of_the_row_are_followed(bench: Bench, user: User) -> None:
    task_id = bench.task(user, options={"refine": False, "trim": False, "padding": 0})
    bench.process(task_id)
    task = row(bench.sessions, task_id)
    assert (task.result_width, task.result_height) == (200, 160)


@pytest.mark.parametrize(
    ("options", "kind", "mode"),
    [
        ({"format": "webp"}, "WEBP", "RGBA"),
        ({"format": "png", "background": "#102030"}, "PNG", "RGB"),
        ({"format": "jpg", "background": "#102030"}, "JPEG", "RGB"),
    ],
)
def test_the_result_is_what_was_asked_for(
    bench: Bench, user: User, options: dict[str, str], kind: str, mode: str
) -> None:
    task_id = bench.task(user, options=options)
    bench.process(task_id)
    (key,) = bench.results()
    assert key == result_key(user.id, task_id, 1, ResultFormat(options["format"]))
    with Image.open(io.BytesIO(bench.store.get(key))) as picture:
        assert (picture.format, picture.mode) == (kind, mode)
        if mode == "RGB":
            assert picture.getpixel((0, 0)) == pytest.approx((0x10, 0x20, 0x30), abs=3)


@pytest.mark.parametrize(
    ("options", "format_", "kind"),
    [({}, ResultFormat.PNG, "PNG"), ({"background": "#102030"}, ResultFormat.JPG, "JPEG")],
)
def test_auto_is_settled_by_the_result(
    bench: Bench, user: User, options: dict[str, str], format_: ResultFormat, kind: str
) -> None:
    task_id = bench.task(user, options={"format": "auto", **options})
    bench.process(task_id)
    task = row(bench.sessions, task_id)
    assert bench.results() == [task.result_key] == [result_key(user.id, task_id, 1, format_)]
    assert task.result_format is format_
    assert content_type(str(task.result_key)) == format_.content_type
    with Image.open(io.BytesIO(bench.store.get(str(task.result_key)))) as picture:
        assert picture.format == kind


@pytest.mark.parametrize(
    ("roi", "code"),
    [("0 0 201px 100%", "roi_exceeds_bounds"), ("50% 0 50% 100%", "roi_region_empty"), ("0 0 4px 4px", "unknown_fore")],
)
def test_a_region_without_a_subject_fails_at_once(bench: Bench, user: User, roi: str, code: str) -> None:
    task_id = bench.task(user, options={"roi": roi})
    bench.process(task_id)
    task = row(bench.sessions, task_id)
    assert (task.status, task.retries) == ("failed", 0)
    assert (task.error_code or "").startswith(code)
    assert bench.engine.runs == (code == "unknown_fore")


def test_a_duplicate_message_does_nothing(bench: Bench, user: User) -> None:
    task_id = bench.task(user)
    bench.process(task_id)
    bench.process(task_id)
    assert (bench.engine.runs, row(bench.sessions, task_id).attempt) == (1, 1)
    assert len(bench.metrics()) == 1


def test_a_message_for_no_task_does_nothing(bench: Bench) -> None:
    bench.process(UUID(int=1))
    assert bench.engine.runs == 0


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encoded(subject(400, 300))[:3000], "image_truncated"),
        (b"", "file_empty"),
        (b"GIF89a", "unsupported_format"),
    ],
)
def test_a_picture_at_fault_fails_at_once(bench: Bench, user: User, data: bytes, code: str) -> None:
    task_id = bench.task(user, data)
    bench.process(task_id)
    task = row(bench.sessions, task_id)
    assert (task.status, task.error_code, task.retries) == ("failed", code, 0)
    assert task.error_message
    assert bench.results() == []
    (line,) = bench.metrics()
    assert (line["status"], line["error_code"]) == ("failed", code)


def test_a_missing_original_fails_at_once(bench: Bench, user: User) -> None:
    task_id = bench.task(user)
    bench.store.objects.clear()
    bench.process(task_id)
    assert row(bench.sessions, task_id).error_code == "original_missing"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (StorageUnavailable("The object store cannot be reached."), "storage_unavailable"),
        (MemoryError(), "oom"),
        (cv2.error("OpenCV(5.0.0) error: (-4:Insufficient memory) Failed to allocate 1 bytes"), "oom"),
        (AttemptTimeout(), "timeout"),
    ],
)
def test_a_passing_fault_is_retried_and_bounded(bench: Bench, user: User, fault: Exception, code: str) -> None:
    task_id = bench.task(user)
    bench.engine.before = failing(fault)
    for expected in ("retrying", "retrying", "retrying", "failed"):
        change(bench.sessions, task_id, run_at=ago(1))
        bench.process(task_id)
        task = row(bench.sessions, task_id)
        assert (task.status, task.error_code) == (expected, code)
    assert bench.engine.runs == 4
    assert bench.results() == []


def test_a_fault_that_passes_is_forgotten(bench: Bench, user: User) -> None:
    task_id = bench.task(user)
    bench.engine.before = failing(MemoryError())
    bench.process(task_id)
    bench.engine.before = lambda: None
    change(bench.sessions, task_id, run_at=ago(1))
    bench.process(task_id)
    task = row(bench.sessions, task_id)
    assert (task.status, task.attempt, task.retries, task.error_code) == ("completed", 2, 1, None)
    assert task.result_key == result_key(user.id, task_id, 2, ResultFormat.PNG)


def test_an_unknown_error_is_ours_and_says_nothing_of_the_inside(bench: Bench, user: User) -> None:
    task_id = bench.task(user)
    bench.engine.before = failing(RuntimeError("the inside"))
    bench.process(task_id)
    task = row(bench.sessions, task_id)
    assert (task.status, task.error_code) == ("failed", "internal_error")
    assert "inside" not in (task.error_message or "")


def test_a_stop_hands_the_task_back(bench: Bench, user: User) -> None:
    task_id = bench.task(user)
    bench.engine.before = failing(SystemExit(0))
    with pytest.raises(SystemExit):
        bench.process(task_id)
    task = row(bench.sessions, task_id)
    assert (task.status, task.retries, task.dispatched_at) == ("queued", 0, None)


def test_a_cancelled_task_leaves_nothing(bench: Bench, user: User) -> None:
    task_id = bench.task(user)
    bench.engine.before = lambda: change(
        bench.sessions, task_id, status=TaskStatus.CANCELLED, lease_until=None, finished_at=ago(0)
    )
    bench.process(task_id)
    assert row(bench.sessions, task_id).status == "cancelled"
    assert bench.results() == []


def test_a_late_attempt_overwrites_nothing(bench: Bench, user: User) -> None:
    """The first attempt is taken for dead while it computes; the second one finishes; then the first one wakes."""
    task_id = bench.task(user)

    def second_attempt() -> None:
        bench.engine.before = lambda: None
        change(bench.sessions, task_id, status=TaskStatus.RETRYING, lease_until=None, run_at=ago(1))
        bench.process(task_id)

    bench.engine.before = second_attempt
    bench.process(task_id)
    task = row(bench.sessions, task_id)
    assert (task.status, task.attempt) == ("completed", 2)
    assert bench.results() == [result_key(user.id, task_id, 2, ResultFormat.PNG)]


@pytest.mark.parametrize("options", [{}, {"format": "auto"}, {"format": "auto", "background": "#102030"}])
def test_a_result_that_nobody_waits_for_is_taken_away_again(bench: Bench, user: User, options: dict[str, str]) -> None:
    """The task is cancelled after its last stage began: the object is stored already."""
    task_id = bench.task(user, options=options)
    put = bench.store.put

    def put_and_cancel(key: str, body: Any, content_type: str) -> None:
        put(key, body, content_type)
        change(bench.sessions, task_id, status=TaskStatus.CANCELLED, lease_until=None, finished_at=ago(0))

    bench.store.put = put_and_cancel  # type: ignore[method-assign]  # an intrusion at the very moment
    bench.process(task_id)
    assert row(bench.sessions, task_id).status == "cancelled"
    assert bench.results() == []


def test_a_commit_whose_answer_is_lost_is_a_commit(bench: Bench, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database has the result, and the connection breaks before it says so."""
    monkeypatch.setattr(processing, "SETTLE_PAUSE", 0)
    complete = tasks.complete
    lost: list[Session] = []

    def complete_and_lose(session: Session, *arguments: Any) -> bool:
        if not lost:
            lost.append(session)
            event.listen(session, "after_commit", raising(OperationalError("COMMIT", {}, Exception("gone"))), once=True)
        return complete(session, *arguments)

    monkeypatch.setattr(tasks, "complete", complete_and_lose)
    task_id = bench.task(user)
    bench.process(task_id)
    assert lost
    task = row(bench.sessions, task_id)
    assert task.status == "completed"
    assert bench.results() == [task.result_key]
    assert [line["status"] for line in bench.metrics()] == ["completed"]


def test_a_stage_that_cannot_be_shown_fails_no_task(bench: Bench, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()

    def fail(*_: Any) -> Any:
        tried.set()
        raise OperationalError("UPDATE", {}, Exception("gone"))

    monkeypatch.setattr(tasks, "enter_stage", fail)
    bench.engine.before = lambda: check(tried.wait(10))
    task_id = bench.task(user)
    with beating(bench.pulse):
        bench.process(task_id)
    assert tried.is_set()
    assert (row(bench.sessions, task_id).status, row(bench.sessions, task_id).retries) == ("completed", 0)


def test_unwritable_metrics_fail_no_task(bench: Bench, user: User) -> None:
    bench.folder = bench.folder / "metrics"
    bench.folder.write_text("a file where the folder should be")
    task_id = bench.task(user)
    bench.process(task_id)
    assert row(bench.sessions, task_id).status == "completed"
