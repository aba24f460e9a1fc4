"""The database itself refuses what the state machine does not know, whoever asks."""

from itertools import product
from typing import Any

import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.exc import IntegrityError

from app.core.states import TERMINAL, TRANSITIONS, TaskStatus
from app.db.base import Sessions
from app.db.models import Task, TaskEvent, User
from tests.factories import ago, change, claim, make_task, row

Status = TaskStatus
# How a task gets to each status by legal steps.
ROUTES: dict[Status, list[Status]] = {
    Status.QUEUED: [],
    Status.PROCESSING: [Status.PROCESSING],
    Status.RETRYING: [Status.PROCESSING, Status.RETRYING],
    Status.COMPLETED: [Status.PROCESSING, Status.COMPLETED],
    Status.FAILED: [Status.FAILED],
    Status.CANCELLED: [Status.CANCELLED],
    Status.EXPIRED: [Status.CANCELLED, Status.EXPIRED],
}


def columns(before: Task, status: Status) -> dict[str, Any]:
    """What else has to change with the status, so that only the guard can object."""
    claims = before.status in {Status.QUEUED, Status.RETRYING} and status == Status.PROCESSING
    return {
        "status": status,
        "attempt": before.attempt + claims,
        "lease_until": ago(-60) if status == Status.PROCESSING else None,
        "finished_at": ago(0) if status in TERMINAL else None,
        "result_key": "processed/a/b/1.png" if status == Status.COMPLETED else None,
        "progress": 100 if status == Status.COMPLETED else before.progress,
        "error_code": "x" if status == Status.FAILED else None,
    }


@pytest.mark.parametrize(("before", "after"), [pair for pair in product(Status, Status) if pair[0] != pair[1]])
def test_only_known_moves_are_made(sessions: Sessions, user: User, before: Status, after: Status) -> None:
    task_id = make_task(sessions, user.id)
    for step in ROUTES[before]:
        change(sessions, task_id, **columns(row(sessions, task_id), step))
    if after in TRANSITIONS[before]:
        change(sessions, task_id, **columns(row(sessions, task_id), after))
    else:
        with pytest.raises(IntegrityError, match=f"a {before} task cannot become {after}"):
            change(sessions, task_id, **columns(row(sessions, task_id), after))
    assert row(sessions, task_id).status == (after if after in TRANSITIONS[before] else before)


@pytest.mark.parametrize("step", [-1, 1])
def test_attempts_count_claims(sessions: Sessions, user: User, step: int) -> None:
    task_id = make_task(sessions, user.id)
    assert claim(sessions, task_id)
    with pytest.raises(IntegrityError, match="one by one"):
        change(sessions, task_id, attempt=1 + step)


def test_a_delivered_result_stays(sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    for step in ROUTES[Status.COMPLETED]:
        change(sessions, task_id, **columns(row(sessions, task_id), step))
    with pytest.raises(IntegrityError, match="a delivered result stays"):
        change(sessions, task_id, result_key="processed/a/b/2.png")


def test_history_is_only_added_to(sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    for statement in (update(TaskEvent).values(status="completed"), delete(TaskEvent)):
        with pytest.raises(IntegrityError, match="only ever added to"), sessions.begin() as session:
            session.execute(statement)
    with sessions.begin() as session:
        session.execute(delete(Task).where(Task.id == task_id))  # it goes with its task
        assert session.scalar(text("SELECT count(*) FROM task_events")) == 0
