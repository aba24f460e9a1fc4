"""Whoever is to be told of an end is written down with it, whichever way a task ends, and once for each end."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from app.core.states import TaskStatus
from app.db import retention, tasks
from app.db.base import Sessions
from app.db.models import Batch, User, WebhookDelivery
from tests.factories import RESULT, TIMING, ago, change, claim, make_task
from tests.webhooks.messages import told

URL = "https://shop.example.com/hook"


def in_one(sessions: Sessions, act: Callable[..., Any], *given: Any, **named: Any) -> Any:
    with sessions.begin() as session:
        return act(session, *given, **named)


def began(sessions: Sessions, user: User, **columns: Any) -> tuple[UUID, tasks.Claim]:
    task_id = make_task(sessions, user.id, webhook_url=URL, **columns)
    held = claim(sessions, task_id)
    assert held is not None
    return task_id, held


def completed(sessions: Sessions, user: User) -> tuple[UUID, str, str | None]:
    task_id, held = began(sessions, user)
    assert in_one(sessions, tasks.complete, held, RESULT)
    return task_id, "completed", None


def failed(sessions: Sessions, user: User) -> tuple[UUID, str, str | None]:
    task_id, held = began(sessions, user)
    assert in_one(sessions, tasks.fail, held, code="image_corrupt", message="It is.")
    return task_id, "failed", "image_corrupt"


def gave_up(sessions: Sessions, user: User) -> tuple[UUID, str, str | None]:
    task_id, held = began(sessions, user, max_retries=0)
    assert in_one(sessions, tasks.retry_later, held, code="storage_unavailable", message="", delay=1, timing=TIMING)
    return task_id, "failed", "storage_unavailable"


def cancelled(sessions: Sessions, user: User) -> tuple[UUID, str, str | None]:
    task_id = make_task(sessions, user.id, webhook_url=URL)
    assert in_one(sessions, tasks.cancel, task_id)
    assert not in_one(sessions, tasks.cancel, task_id)
    return task_id, "cancelled", None


def reaped(sessions: Sessions, user: User) -> tuple[UUID, str, str | None]:
    task_id, _ = began(sessions, user, max_retries=0)
    change(sessions, task_id, lease_until=ago(1))
    assert in_one(sessions, tasks.reap, timing=TIMING) == [(task_id, "failed")]
    return task_id, "failed", "worker_lost"


def overdue(sessions: Sessions, user: User) -> tuple[UUID, str, str | None]:
    task_id = make_task(sessions, user.id, age=2 * TIMING.max_queue_age, webhook_url=URL)
    assert in_one(sessions, tasks.fail_overdue, timing=TIMING) == [(task_id, "queue_timeout")]
    return task_id, "failed", "queue_timeout"


def taken_back(sessions: Sessions, user: User) -> tuple[UUID, str, str | None]:
    task_id, _ = began(sessions, user, max_retries=0)
    given = {"worker": "w:1", "before": 0, "code": "oom", "message": "", "delay": 1, "timing": TIMING}
    assert in_one(sessions, tasks.take_back, task_id, **given) == "failed"
    return task_id, "failed", "oom"


@pytest.mark.parametrize("end", [completed, failed, gave_up, cancelled, reaped, overdue, taken_back])
def test_every_end_is_told_once_with_ids_and_no_more(
    sessions: Sessions, user: User, end: Callable[[Sessions, User], tuple[UUID, str, str | None]]
) -> None:
    task_id, status, code = end(sessions, user)
    # What comes after the end is no end.
    in_one(sessions, retention.expire_tasks, retention.over(-1), limit=10)
    in_one(sessions, tasks.delete, task_id)
    (message,) = told(sessions, task_id)
    assert (message.user_id, message.url, message.status) == (user.id, URL, "pending")
    assert message.type == message.payload["type"] == f"task.{status}"
    assert set(message.payload) == {"type", "timestamp", "data"}
    at = datetime.fromisoformat(message.payload["timestamp"])
    assert message.payload["timestamp"].endswith("Z")
    assert abs(at.timestamp() - time.time()) < 60
    data = message.payload["data"]
    upload_id = data.pop("upload_id")
    assert upload_id == str(UUID(upload_id))
    assert data == {"task_id": str(task_id), "batch_id": None, "status": status, "error_code": code}


def test_what_goes_on_is_not_told(sessions: Sessions, user: User) -> None:
    task_id, held = began(sessions, user)
    assert in_one(sessions, tasks.release, held)
    for _ in range(2):
        change(sessions, task_id, run_at=ago(1))
        again = claim(sessions, task_id)
        in_one(sessions, tasks.retry_later, again, code="timeout", message="", delay=1, timing=TIMING)
    assert told(sessions, task_id) == []


def test_a_task_without_an_address_tells_nobody(sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    assert in_one(sessions, tasks.cancel, task_id)
    assert told(sessions, task_id) == []


def test_an_end_that_is_rolled_back_was_none(sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id, webhook_url=URL)
    with sessions() as session:
        assert tasks.cancel(session, task_id)
        session.rollback()
    assert told(sessions, task_id) == []


def test_a_second_end_after_a_retry_by_hand_is_told_again(sessions: Sessions, user: User) -> None:
    task_id, _, _ = cancelled(sessions, user)
    assert in_one(sessions, tasks.requeue, task_id)
    assert len(told(sessions, task_id)) == 1
    held = claim(sessions, task_id)
    assert in_one(sessions, tasks.complete, held, RESULT)
    assert [message.type for message in told(sessions, task_id)] == ["task.cancelled", "task.completed"]


def test_an_attempt_that_was_fenced_off_tells_nothing(sessions: Sessions, user: User) -> None:
    task_id, held = began(sessions, user)
    assert in_one(sessions, tasks.cancel, task_id)
    assert not in_one(sessions, tasks.complete, held, RESULT)
    assert [message.payload["data"]["status"] for message in told(sessions, task_id)] == [TaskStatus.CANCELLED]


def test_a_batch_is_told_once_when_all_have_ended(sessions: Sessions, user: User) -> None:
    batch_id = uuid4()
    batch = Batch(id=batch_id, user_id=user.id, total=3, refused=[{"name": "a"}], webhook_url=URL)
    with sessions.begin() as session:
        session.add(batch)
    for _ in range(2):
        with sessions.begin() as session:
            session.execute(update(Batch).where(Batch.id == batch_id).values(finished_at=func.now()))
    with sessions.begin() as session:
        message = session.scalars(select(WebhookDelivery)).one()
    assert (message.batch_id, message.task_id, message.type) == (batch_id, None, "batch.finished")
    assert message.payload["data"] == {"batch_id": str(batch_id), "total": 3, "refused": 1}
