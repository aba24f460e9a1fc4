"""The checker finds what is wrong: each kind of violation is planted in a real database, behind its guards."""

import hashlib
import io
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.core.config import Settings
from app.core.states import UploadStatus
from app.db import tasks
from app.db.base import Sessions
from app.db.models import User
from app.db.tasks import Result
from app.storage.base import content_type, original_key
from app.storage.memory import MemoryStore
from tests.factories import change, claim, make_task, row
from tests.faults import checker
from tests.faults.client import Record, Upload, picture

pytestmark = pytest.mark.xdist_group("faults")

CUTOUT = b"what picture 7 becomes"


@dataclass
class Scene:
    """One picture that went its way, and what its client and the expectation say of it."""

    sessions: Sessions
    settings: Settings
    store: MemoryStore
    user: User
    record: Record = field(default_factory=Record)

    def upload(self) -> Upload:
        upload = Upload(7, f"run-{len(self.record.uploads)}", self.user.id, 0.0, "ok")
        self.record.uploads.append(upload)
        return upload

    def task(self, upload: Upload) -> UUID:
        """Queued, with the original that was sent."""
        task_id = make_task(self.sessions, self.user.id, request_id=upload.request_id)
        upload_id = row(self.sessions, task_id).upload_id
        self.put(original_key(self.user.id, upload_id), picture(7))
        self.plant("UPDATE uploads SET sha256 = :sha256", sha256=upload.digest)
        upload.answers.add((upload_id, task_id))
        return task_id

    def complete(self, task_id: UUID) -> str:
        """Its result's key."""
        held = claim(self.sessions, task_id)
        assert held is not None
        key = f"processed/{self.user.id}/{task_id}/{held.attempt}.png"
        self.put(key, CUTOUT)
        with self.sessions.begin() as session:
            assert tasks.complete(session, held, Result(key, len(CUTOUT), 8, 6, 0.9))
        return key

    def put(self, key: str, data: bytes) -> None:
        self.store.put(key, io.BytesIO(data), content_type(key))

    def plant(self, sql: str, **values: object) -> None:
        """Write past every guard."""
        with self.sessions.begin() as session:
            session.execute(text("SET LOCAL session_replication_role = replica"))
            session.execute(text(sql), values)

    def event(self, task_id: UUID, before: str, after: str, attempt: int) -> None:
        self.plant(
            "INSERT INTO task_events (task_id, attempt, from_status, status) VALUES (:id, :attempt, :before, :after)",
            id=task_id,
            attempt=attempt,
            before=before,
            after=after,
        )

    def findings(self) -> list[str]:
        expected = hashlib.sha256(CUTOUT).hexdigest()
        return list(checker.check(self.settings, self.sessions, self.store, self.record, lambda number: expected))


@pytest.fixture
def scene(sessions: Sessions, settings: Settings, user: User) -> Scene:
    return Scene(sessions, settings, MemoryStore(), user)


@pytest.fixture
def done(scene: Scene) -> UUID:
    """The task of a picture that was completed as it should be."""
    task_id = scene.task(scene.upload())
    scene.complete(task_id)
    assert scene.findings() == []
    return task_id


def found(scene: Scene, *sentences: str) -> None:
    findings = scene.findings()
    assert len(findings) == len(sentences), findings
    for finding, sentence in zip(findings, sentences, strict=True):
        assert sentence in finding


def test_a_way_with_detours_is_a_good_one(scene: Scene, done: UUID) -> None:
    upload = scene.upload()
    task_id = scene.task(upload)
    lost = claim(scene.sessions, task_id)
    assert lost is not None
    with scene.sessions.begin() as session:
        assert tasks.release(session, lost)
    scene.complete(task_id)
    upload.outcome = "unknown"  # its client has given up, and was heard all the same
    assert scene.findings() == []


def test_a_lost_task(scene: Scene, done: UUID) -> None:
    scene.upload().answers.add((uuid4(), uuid4()))
    found(scene, "was acknowledged, and is lost")


def test_a_task_without_an_end(scene: Scene, done: UUID) -> None:
    task_id = scene.task(scene.upload())
    found(scene, f"task {task_id} is queued")


def test_a_failed_task(scene: Scene, done: UUID) -> None:
    task_id = scene.task(scene.upload())
    held = claim(scene.sessions, task_id)
    assert held is not None
    with scene.sessions.begin() as session:
        assert tasks.fail(session, held, code="oom", message="It was too much.")
    found(scene, f"task {task_id} is failed (oom), attempt 1")


def test_two_tasks_for_one_key(scene: Scene, done: UUID) -> None:
    upload = scene.record.uploads[0]
    scene.complete(scene.task(upload))
    found(scene, "answered with 2 different tasks", "2 tasks for one key")


def test_a_task_that_nobody_has_sent(scene: Scene, done: UUID) -> None:
    del scene.record.uploads[0]
    found(scene, "1 tasks of run-0, which no client has sent")


def test_a_client_that_was_told_of_a_bug(scene: Scene, done: UUID) -> None:
    scene.record.uploads[0].refusals.append("500 Internal Server Error")
    scene.record.uploads[0].outcome = "invoked"
    found(scene, "answered 500", "still waits")


def test_a_double_completion(scene: Scene, done: UUID) -> None:
    scene.event(done, "completed", "completed", 1)
    found(scene, "from completed to completed", "completed 2 times in one run")


@pytest.mark.parametrize(
    ("before", "after", "attempt", "sentence"),
    [
        ("completed", "queued", 1, "from completed to queued"),
        ("completed", "processing", 2, "from completed to processing"),
        ("processing", "expired", 1, "was completed, and then came from processing"),
    ],
)
def test_an_illegal_transition(scene: Scene, done: UUID, before: str, after: str, attempt: int, sentence: str) -> None:
    scene.event(done, before, after, attempt)
    assert any(sentence in finding for finding in scene.findings())


def test_an_attempt_that_does_not_rise(scene: Scene) -> None:
    upload = scene.upload()
    task_id = scene.task(upload)
    scene.event(task_id, "queued", "processing", 0)
    scene.event(task_id, "processing", "queued", 0)
    scene.plant("UPDATE task_events SET attempt = 1 WHERE status = 'queued' AND from_status IS NOT NULL")
    change(scene.sessions, task_id, attempt=0)
    findings = "\n".join(scene.findings())
    assert "attempt 0 (queued) was followed by attempt 0 (processing)" in findings
    assert "attempt 0 (processing) was followed by attempt 1 (queued)" in findings


def test_a_row_that_moved_without_its_history(scene: Scene, done: UUID) -> None:
    scene.plant("UPDATE tasks SET status = 'failed', result_key = NULL, error_code = 'x' WHERE id = :id", id=done)
    findings = "\n".join(scene.findings())
    assert "it is failed, and its history says completed" in findings


def test_a_history_without_its_beginning(scene: Scene, done: UUID) -> None:
    scene.plant("DELETE FROM task_events WHERE from_status IS NULL")
    found(scene, "does not begin with being queued")


def test_a_wrong_result(scene: Scene, done: UUID) -> None:
    key = row(scene.sessions, done).result_key
    assert key is not None
    scene.put(key, CUTOUT[::-1])
    found(scene, "not that of picture run-0")
    scene.put(key, CUTOUT[:-1])
    found(scene, f"has {len(CUTOUT) - 1} bytes", "not that of picture run-0")


def test_a_wrong_original(scene: Scene, done: UUID) -> None:
    scene.plant("UPDATE uploads SET sha256 = repeat('0', 64)")
    found(scene, "its original is not what was sent")


def test_a_result_that_is_not_there(scene: Scene, done: UUID) -> None:
    key = row(scene.sessions, done).result_key
    assert key is not None
    scene.store.delete(key)
    found(scene, "its result is not there", "a row stands for it, and it is not there")


@pytest.mark.parametrize("kind", ["originals", "processed", "mattes"])
def test_an_orphan(scene: Scene, done: UUID, kind: str) -> None:
    scene.put(f"{kind}/{scene.user.id}/{uuid4()}", b"nobody's")
    found(scene, "no row stands for it")


def test_an_upload_that_is_never_settled(scene: Scene, done: UUID) -> None:
    scene.plant("UPDATE uploads SET status = 'pending'")
    assert row(scene.sessions, done).upload.status == UploadStatus.PENDING
    found(scene, "it is still pending")


def test_the_database_would_not_let_it_happen(scene: Scene, done: UUID) -> None:
    """What is planted here has to be planted: the machine is guarded from within."""
    with pytest.raises(Exception, match="cannot become"), scene.sessions.begin() as session:
        session.execute(text("UPDATE tasks SET status = 'processing', lease_until = now(), finished_at = NULL"))
