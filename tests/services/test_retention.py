"""What is past its time goes, and what is not stays, on the real database and the real store."""

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from app.core.config import Settings
from app.core.errors import ObjectNotFound, ServiceUnavailable, StorageUnavailable
from app.core.options import ResultFormat
from app.core.states import TaskStatus, UploadStatus
from app.db import retention as rows
from app.db import tasks
from app.db.base import Sessions
from app.db.models import Task, Upload, User
from app.db.tasks import Claim, Result
from app.services.backlog import Backlog
from app.services.orders import Order
from app.services.retention import BATCH, Cleaned, Retention, attempt_keys
from app.services.submission import Submissions
from app.storage.base import ObjectStore, StoredObject, import_key, original_key, result_key
from app.storage.memory import MemoryStore
from app.storage.s3 import S3Store
from tests.factories import TIMING, Silence, ago, change, claim, make_limits, make_task, row
from tests.pictures import encoded

HOUR, DAY = 3600, 86_400
NOTHING = Cleaned(0, 0, 0, 0)


@pytest.fixture
def retention(settings: Settings, sessions: Sessions, s3_store: S3Store) -> Retention:
    return Retention(settings, sessions, s3_store)


def finished(retention: Retention, user: User, age: float, *, attempts: int = 1) -> tuple[UUID, str, str]:
    """A completed task with its objects: (id, key of the original, key of the result)."""
    task_id = make_task(retention.sessions, user.id, age=age)
    for _ in range(attempts):
        change(retention.sessions, task_id, status=TaskStatus.QUEUED, lease_until=None)
        assert claim(retention.sessions, task_id)
    original = row(retention.sessions, task_id).upload.key
    key = result_key(user.id, task_id, attempts, ResultFormat.PNG)
    with retention.sessions.begin() as session:
        assert tasks.complete(session, Claim(task_id, attempts), Result(key, 3, 2, 1, 0.9))
        session.execute(update(Upload).where(Upload.key == original).values(created_at=ago(age)))
    change(retention.sessions, task_id, started_at=ago(age), finished_at=ago(age))
    for stored in (original, key):
        retention.store.put(stored, io.BytesIO(b"png"), "image/png")
    return task_id, original, key


def is_there(store: ObjectStore, key: str) -> bool:
    try:
        store.get(key)
    except ObjectNotFound:
        return False
    return True


def upload_of(sessions: Sessions, key: str) -> Upload | None:
    with sessions.begin() as session:
        return session.scalar(select(Upload).where(Upload.key == key))


def test_what_is_young_stays(retention: Retention, user: User) -> None:
    task_id, original, key = finished(retention, user, DAY - 60)
    assert retention.clean() == NOTHING
    assert row(retention.sessions, task_id).result_key == key
    assert is_there(retention.store, original)
    assert is_there(retention.store, key)


def test_the_original_goes_after_a_day_and_the_result_after_a_week(retention: Retention, user: User) -> None:
    task_id, original, key = finished(retention, user, DAY + 60)
    assert retention.clean() == Cleaned(0, 0, 1, 1000)
    assert not is_there(retention.store, original)
    assert is_there(retention.store, key)
    assert row(retention.sessions, task_id).status == TaskStatus.COMPLETED
    change(retention.sessions, task_id, started_at=ago(7 * DAY + 60), finished_at=ago(7 * DAY + 60))
    assert retention.clean() == Cleaned(1, 0, 1, 3)
    assert not is_there(retention.store, key)
    task = row(retention.sessions, task_id)
    assert (task.status, task.result_key) == (TaskStatus.EXPIRED, None)
    assert retention.clean() == NOTHING


@pytest.mark.parametrize("status", ["queued", "processing", "completed"])
def test_an_original_that_another_task_needs_stays(retention: Retention, user: User, status: str) -> None:
    task_id, original, _ = finished(retention, user, 8 * DAY)
    other = make_task(retention.sessions, user.id, upload_id=row(retention.sessions, task_id).upload_id)
    if status != "queued":
        held = claim(retention.sessions, other)
        assert held
        if status == "completed":
            with retention.sessions.begin() as session:
                tasks.complete(session, held, Result(result_key(user.id, other, 1, ResultFormat.PNG), 3, 2, 1, 0.9))
    assert retention.clean() == Cleaned(1, 0, 1, 3)
    assert is_there(retention.store, original)
    assert row(retention.sessions, other).status == status


@pytest.mark.parametrize("format_", ["png", "webp"])
def test_the_objects_of_lost_attempts_go_too(retention: Retention, user: User, format_: str) -> None:
    task_id, _, _ = finished(retention, user, 8 * DAY, attempts=3)
    change(retention.sessions, task_id, options={"format": format_})
    lost = result_key(user.id, task_id, 1, ResultFormat(format_))
    retention.store.put(lost, io.BytesIO(b"late"), "image/png")
    retention.clean()
    assert not is_there(retention.store, lost)


def test_whatever_the_attempts_of_an_auto_task_have_left_goes(retention: Retention, user: User) -> None:
    """Each one may have decided otherwise."""
    task_id, _, key = finished(retention, user, DAY - 60, attempts=3)
    change(retention.sessions, task_id, options={"format": "auto"})
    task = row(retention.sessions, task_id)
    left = [result_key(user.id, task_id, 1, ResultFormat.JPG), result_key(user.id, task_id, 2, ResultFormat.PNG)]
    for lost in left:
        retention.store.put(lost, io.BytesIO(b"late"), "image/png")
    assert {*left, key} < set(attempt_keys(task))
    change(retention.sessions, task_id, finished_at=ago(7 * DAY + 60))
    retention.clean()
    assert not any(is_there(retention.store, stored) for stored in (*left, key))


def test_a_failed_task_expires_and_keeps_its_reason(retention: Retention, user: User) -> None:
    task_id = make_task(retention.sessions, user.id, age=8 * DAY)
    held = claim(retention.sessions, task_id)
    assert held
    with retention.sessions.begin() as session:
        tasks.fail(session, held, code="image_corrupt", message="No picture.")
    change(retention.sessions, task_id, finished_at=ago(8 * DAY))
    assert retention.clean().expired == 1
    task = row(retention.sessions, task_id)
    assert (task.status, task.error_code) == (TaskStatus.EXPIRED, "image_corrupt")


def pending(retention: Retention, user: User, age: float) -> str:
    upload_id = uuid4()
    key = original_key(user.id, upload_id)
    facts: dict[str, Any] = {"format": "PNG", "size_bytes": 5, "width": 1, "height": 1, "sha256": "0"}
    with retention.sessions.begin() as session:
        session.add(Upload(id=upload_id, user_id=user.id, key=key, created_at=ago(age), **facts))
    retention.store.put(key, io.BytesIO(b"lost!"), "image/png")
    return key


def test_an_upload_that_never_became_one_is_forgotten(retention: Retention, user: User) -> None:
    old, young = pending(retention, user, HOUR + 60), pending(retention, user, HOUR - 60)
    assert retention.clean() == Cleaned(0, 1, 1, 5)
    assert not is_there(retention.store, old)
    assert upload_of(retention.sessions, old) is None
    assert is_there(retention.store, young)
    assert upload_of(retention.sessions, young) is not None


def test_a_preview_says_the_same_and_changes_nothing(retention: Retention, user: User) -> None:
    task_id, original, key = finished(retention, user, 8 * DAY)
    pending(retention, user, 2 * HOUR)
    said = retention.preview()
    assert said == Cleaned(1, 1, 3, 1008)
    assert row(retention.sessions, task_id).result_key == key
    assert is_there(retention.store, original)
    assert retention.clean() == said
    assert retention.preview() == NOTHING


def test_what_clients_have_put_goes_after_a_day(retention: Retention, user: User) -> None:
    store = MemoryStore()
    young, old = import_key(user.id, uuid4()), import_key(user.id, uuid4())
    for key, age in ((young, DAY - 60), (old, DAY + 60), ("other/things", 9 * DAY)):
        store.put(key, io.BytesIO(b"picture"), "image/png")
        store.times[key] = datetime.now(UTC) - timedelta(seconds=age)
    retention = replace(retention, store=store)
    assert retention.preview() == Cleaned(0, 0, 1, 7)
    assert retention.clean() == Cleaned(0, 0, 1, 7)
    assert set(store.objects) == {young, "other/things"}
    assert retention.clean() == NOTHING


def test_a_bucket_that_may_not_be_listed_is_cleaned_all_the_same(retention: Retention, user: User) -> None:
    class Hidden(MemoryStore):
        def list(self, prefix: str) -> Iterator[StoredObject]:
            raise StorageUnavailable("The object store refused the request.", reason="access_denied")

    finished(retention, user, 8 * DAY)
    assert replace(retention, store=Hidden()).clean() == Cleaned(1, 0, 2, 1003)


class Away(MemoryStore):
    """A store that is away: what a run finds that dies right after its commit, too."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def delete(self, key: str) -> None:
        self.asked += 1
        raise StorageUnavailable("The object store cannot be reached.")


def test_what_could_not_be_deleted_is_found_again(retention: Retention, user: User) -> None:
    made = [finished(retention, user, 8 * DAY) for _ in range(5)]
    abandoned = pending(retention, user, 2 * HOUR)
    away = Away()
    cut_off = replace(retention, store=away).clean()
    assert cut_off == Cleaned(5, 1, 0, 0, left=11)
    assert away.asked <= 6, "it does not wait for each of them"
    assert {row(retention.sessions, task_id).status for task_id, _, _ in made} == {TaskStatus.EXPIRED}
    assert retention.preview() == Cleaned(0, 0, 11, 5 * 1003 + 5)
    assert retention.clean() == Cleaned(0, 0, 11, 5 * 1003 + 5)
    for key in [abandoned, *(key for _, *keys in made for key in keys)]:
        assert not is_there(retention.store, key)
    assert retention.clean() == NOTHING


def test_a_crash_after_the_objects_deletes_them_again_without_harm(
    retention: Retention, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(retention, user, 8 * DAY)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rows, "tasks_purged", die)
        with pytest.raises(KeyboardInterrupt):
            retention.clean()
    assert retention.clean() == Cleaned(0, 0, 2, 1003)


def test_one_object_that_cannot_be_deleted_does_not_hold_up_the_others(retention: Retention, user: User) -> None:
    made = sorted(finished(retention, user, 8 * DAY) for _ in range(4))
    stubborn = made[0][2]

    class Stubborn(Away):
        def delete(self, key: str) -> None:
            if key == stubborn:
                super().delete(key)

    assert replace(retention, store=Stubborn()).clean().left == 1


def test_more_than_one_batch(retention: Retention, sessions: Sessions, user: User) -> None:
    for _ in range(BATCH + 1):
        make_task(sessions, user.id)
    with sessions.begin() as session:
        session.execute(
            update(Task).values(status="failed", error_code="x", error_message="x", finished_at=ago(8 * DAY))
        )
        session.execute(update(Upload).values(created_at=ago(8 * DAY)))
    cleaned = replace(retention, store=MemoryStore()).clean()
    assert (cleaned.expired, cleaned.objects, cleaned.left) == (BATCH + 1, BATCH + 1, 0)


def test_an_upload_that_was_given_up_in_the_meantime_is_refused(
    settings: Settings, sessions: Sessions, user: User
) -> None:
    class Slow(MemoryStore):
        def put(self, key: str, body: BinaryIO, content_type: str) -> None:
            super().put(key, body, content_type)
            with sessions.begin() as session:
                session.execute(update(Upload).values(created_at=ago(2 * HOUR)))
            assert Retention(settings, sessions, self).clean().abandoned == 1

    store = Slow()
    submissions = Submissions(
        settings, sessions, store, Silence(), Backlog(sessions, TIMING, 3600), make_limits(settings)
    )
    with pytest.raises(ServiceUnavailable, match="send it again"):
        submissions.submit(io.BytesIO(encoded()), user=user, filename=None, order=Order())
    with sessions.begin() as session:
        assert session.scalars(select(Task)).all() == []
        assert session.scalars(select(Upload).where(Upload.status != UploadStatus.EXPIRED)).all() == []
    assert store.objects == {}
