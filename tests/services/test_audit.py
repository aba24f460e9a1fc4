"""The audit finds what no row stands for, and nothing else."""

import io
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.core.options import ResultFormat
from app.db import tasks
from app.db.base import Sessions
from app.db.models import User
from app.db.tasks import Result
from app.services.audit import Audit, Audited
from app.storage.base import ObjectStore, import_key, original_key, result_key, task_of_key
from app.storage.memory import MemoryStore
from app.storage.s3 import S3Store
from tests.factories import claim, make_task, row


def put(store: ObjectStore, key: str) -> str:
    store.put(key, io.BytesIO(b"png"), "image/png")
    return key


@pytest.fixture
def kept(sessions: Sessions, user: User) -> list[str]:
    """The keys of a completed task: original, and the result of its second attempt."""
    task_id = make_task(sessions, user.id)
    first = claim(sessions, task_id)
    assert first
    with sessions.begin() as session:
        tasks.release(session, first)
    second = claim(sessions, task_id)
    assert second
    key = result_key(user.id, task_id, 2, ResultFormat.PNG)
    with sessions.begin() as session:
        assert tasks.complete(session, second, Result(key, 3, 2, 1, 0.9))
    return [row(sessions, task_id).upload.key, key]


def test_orphans_are_reported_and_then_deleted(sessions: Sessions, user: User, kept: list[str]) -> None:
    store = MemoryStore()
    for key in kept:
        put(store, key)
    task = task_of_key(kept[1])
    assert task
    put(store, result_key(user.id, task, 1, ResultFormat.PNG))  # the attempt that lost
    put(store, original_key(user.id, task))  # of an upload that nobody knows
    put(store, "other/things")  # not ours
    for key in store.times:
        store.times[key] = datetime.now(UTC) - timedelta(days=2)
    audit = Audit(sessions, store)
    assert audit.run() == Audited(objects=4, orphans=2, orphan_bytes=6, deleted=0)
    assert len(store.objects) == 5
    assert audit.run(delete=True).deleted == 2
    assert set(store.objects) == {*kept, "other/things"}
    assert audit.run(delete=True) == Audited(objects=2, orphans=0, orphan_bytes=0, deleted=0)


def test_young_objects_are_left_alone(sessions: Sessions, user: User) -> None:
    store = MemoryStore()
    put(store, original_key(user.id, user.id))
    assert Audit(sessions, store).run(delete=True) == Audited(1, 0, 0, 0)


def test_what_clients_have_put_is_left_to_its_own_cleaning_for_a_day_more(sessions: Sessions, user: User) -> None:
    store = MemoryStore()
    for age in (1, 30, 60):  # hours
        key = put(store, import_key(user.id, uuid4()))
        store.times[key] = datetime.now(UTC) - timedelta(hours=age)
    assert Audit(sessions, store).run() == Audited(objects=3, orphans=1, orphan_bytes=3, deleted=0)


def test_the_real_store_lists_page_by_page(sessions: Sessions, user: User, s3_store: S3Store) -> None:
    keys = [put(s3_store, original_key(user.id, user.id) + f"-{n}") for n in range(5)]
    prefix = f"originals/{user.id}/"
    found = list(s3_store.list(prefix))
    assert [(entry.key, entry.size_bytes) for entry in found] == [(key, 3) for key in keys]
    assert all(abs(entry.modified_at - datetime.now(UTC)) < timedelta(minutes=5) for entry in found)
    assert Audit(sessions, s3_store, age=-300).run(delete=True).deleted >= 5
    assert list(s3_store.list(prefix)) == []
