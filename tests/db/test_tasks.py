"""Every move of a task is one guarded UPDATE: what it lets through, and what it refuses."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from app.core.states import Stage, TaskStatus
from app.core.timing import Timing
from app.db import dispatch, overview, tasks
from app.db.base import Sessions
from app.db.models import TaskEvent, User
from app.db.tasks import Claim
from tests.factories import RESULT, TIMING, ago, change, claim, make_task, row


def held(sessions: Sessions, user: User, **columns: Any) -> Claim:
    got = claim(sessions, make_task(sessions, user.id, **columns))
    assert got is not None
    return got


def test_a_claim_begins_an_attempt(sessions: Sessions, user: User) -> None:
    got = held(sessions, user)
    task = row(sessions, got.task_id)
    assert (task.status, task.attempt, task.stage, task.worker) == ("processing", 1, "downloading", "w:1")
    assert task.lease_until is not None
    assert task.started_at is not None
    assert task.lease_until - task.started_at == timedelta(seconds=TIMING.lease)


def test_one_of_many_racing_claims_wins(sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda n: claim(sessions, task_id, f"w:{n}"), range(8)))
    assert [c.attempt for c in claims if c] == [1]


@pytest.mark.parametrize(
    "columns",
    [
        {"run_at": func.now() + timedelta(seconds=60)},
        {"attempt": 10},
        {"status": TaskStatus.CANCELLED, "finished_at": func.now()},
        {"status": TaskStatus.FAILED, "finished_at": func.now(), "error_code": "x"},
    ],
)
def test_what_is_not_due_cannot_be_claimed(sessions: Sessions, user: User, columns: dict[str, Any]) -> None:
    assert claim(sessions, make_task(sessions, user.id, **columns)) is None


def test_progress_follows_the_stages_and_never_goes_back(sessions: Sessions, user: User) -> None:
    got = held(sessions, user)
    seen = []
    for stage in (Stage.DECODING, Stage.INFERRING, Stage.DECODING, Stage.UPLOADING):
        with sessions.begin() as session:
            assert tasks.enter_stage(session, got, stage)
        seen.append(row(sessions, got.task_id).progress)
    assert seen == sorted(seen)
    assert seen[-1] == 90


def test_completion_records_the_result(sessions: Sessions, user: User) -> None:
    got = held(sessions, user)
    with sessions.begin() as session:
        assert tasks.complete(session, got, RESULT)
    task = row(sessions, got.task_id)
    assert (task.status, task.progress, task.stage, task.lease_until) == ("completed", 100, None, None)
    assert (task.result_key, task.result_bytes, task.confidence) == (RESULT.key, RESULT.size_bytes, RESULT.confidence)
    assert task.processing_seconds is not None
    assert task.processing_seconds > 0


def test_a_stale_attempt_can_write_nothing(sessions: Sessions, user: User) -> None:
    first = held(sessions, user)
    change(sessions, first.task_id, lease_until=ago(1))
    with sessions.begin() as session:
        tasks.reap(session, timing=TIMING)
    change(sessions, first.task_id, run_at=ago(1))
    second = claim(sessions, first.task_id, "w:2")
    assert second is not None
    assert second.attempt == 2
    with sessions.begin() as session:
        assert not tasks.beat(session, first, timing=TIMING)
        assert not tasks.enter_stage(session, first, Stage.ENCODING)
        assert not tasks.complete(session, first, RESULT)
        assert not tasks.fail(session, first, code="x", message="x")
        assert not tasks.release(session, first)
        assert tasks.retry_later(session, first, code="x", message="x", delay=1, timing=TIMING) is None
        assert tasks.beat(session, second, timing=TIMING)
    task = row(sessions, first.task_id)
    assert (task.status, task.worker, task.stage) == ("processing", "w:2", "downloading")


def test_a_beat_prolongs_the_lease_but_not_past_the_bound(sessions: Sessions, user: User) -> None:
    got = held(sessions, user)
    change(sessions, got.task_id, lease_until=ago(1))
    with sessions.begin() as session:
        assert tasks.beat(session, got, timing=TIMING)
        assert tasks.reap(session, timing=TIMING) == []
    change(sessions, got.task_id, started_at=ago(TIMING.attempt_bound + 1))
    with sessions.begin() as session:
        assert not tasks.beat(session, got, timing=TIMING)


def test_retries_back_off_and_end_in_failure(sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    waits, statuses = [], []
    for _ in range(4):
        change(sessions, task_id, run_at=ago(1))
        got = claim(sessions, task_id)
        assert got is not None
        with sessions.begin() as session:
            statuses.append(tasks.retry_later(session, got, code="oom", message="No memory.", delay=60, timing=TIMING))
        task = row(sessions, task_id)
        waits.append((task.run_at - task.updated_at).total_seconds())
        assert (task.error_code, task.error_message, task.dispatched_at) == ("oom", "No memory.", None)
    assert statuses == ["retrying", "retrying", "retrying", "failed"]
    for number, wait in enumerate(waits[:3]):
        assert 0.5 * 60 * 2**number <= wait <= 1.5 * 60 * 2**number
    assert (task.attempt, task.retries) == (4, 3)


def test_a_release_uses_up_no_retry(sessions: Sessions, user: User) -> None:
    got = held(sessions, user)
    with sessions.begin() as session:
        assert tasks.release(session, got)
    task = row(sessions, got.task_id)
    assert (task.status, task.retries, task.attempt, task.progress, task.dispatched_at) == ("queued", 0, 1, 0, None)
    assert claim(sessions, got.task_id) is not None


def test_the_sweeper_takes_back_lost_leases_only(sessions: Sessions, user: User) -> None:
    lost, alive = held(sessions, user), held(sessions, user)
    change(sessions, lost.task_id, lease_until=ago(1))
    with sessions.begin() as session:
        assert tasks.reap(session, timing=TIMING) == [(lost.task_id, "retrying")]
    assert row(sessions, lost.task_id).error_code == "worker_lost"
    assert row(sessions, alive.task_id).status == "processing"


def test_a_poison_task_ends(sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    for _ in range(4):
        change(sessions, task_id, run_at=ago(1))
        assert claim(sessions, task_id) is not None
        change(sessions, task_id, lease_until=ago(1))
        with sessions.begin() as session:
            tasks.reap(session, timing=TIMING)
    task = row(sessions, task_id)
    assert (task.status, task.error_code, task.attempt, task.retries) == ("failed", "worker_lost", 4, 3)
    assert task.finished_at is not None


def test_tasks_that_can_never_run_end(sessions: Sessions, user: User) -> None:
    spent = make_task(sessions, user.id, attempt=10)
    old = make_task(sessions, user.id, queued_at=ago(TIMING.max_queue_age + 1))
    fine = make_task(sessions, user.id)
    with sessions.begin() as session:
        ended = dict(tasks.fail_overdue(session, timing=TIMING))
    assert ended == {spent: "max_attempts", old: "queue_timeout"}
    assert row(sessions, fine).status == "queued"


def test_undispatched_rows_are_rung_for_once(sessions: Sessions, user: User) -> None:
    waiting = make_task(sessions, user.id, age=60)
    make_task(sessions, user.id)  # just queued: the API's own bell rings
    make_task(sessions, user.id, age=60, run_at=func.now() + timedelta(seconds=60))
    with sessions.begin() as session:
        assert dispatch.stamp_undispatched(session, timing=TIMING) == [(waiting, "interactive")]
    with sessions.begin() as session:
        assert dispatch.stamp_undispatched(session, timing=TIMING) == []
        dispatch.unstamp(session, [waiting])
    assert row(sessions, waiting).dispatched_at is None


@pytest.mark.parametrize(("ready", "rung"), [(5, 0), (4, 1), (0, 5), (9, 0)])
def test_only_lost_messages_are_rung_for_again(sessions: Sessions, user: User, ready: int, rung: int) -> None:
    dispatched = [make_task(sessions, user.id, age=100 - n, dispatched_at=ago(60)) for n in range(5)]
    with sessions.begin() as session:
        again = dispatch.stamp_unanswered(session, queue="interactive", ready=ready, timing=TIMING)
    assert [task_id for task_id, _ in again] == dispatched[:rung]


def test_fresh_messages_do_not_hide_lost_ones(sessions: Sessions, user: User) -> None:
    lost = make_task(sessions, user.id, age=100, dispatched_at=ago(60))
    for _ in range(3):
        make_task(sessions, user.id, dispatched_at=func.now())
    with sessions.begin() as session:
        again = dispatch.stamp_unanswered(session, queue="interactive", ready=3, timing=TIMING)
    assert again == [(lost, "interactive")]


def test_the_mark_of_the_first_bell_does_not_hide_a_retry(sessions: Sessions, user: User) -> None:
    got = held(sessions, user)
    with sessions.begin() as session:
        tasks.retry_later(session, got, code="x", message="x", delay=1, timing=TIMING)
        assert not dispatch.stamp_new(session, got.task_id)  # it is not due yet
    assert row(sessions, got.task_id).dispatched_at is None


def test_history_is_written_for_every_move(sessions: Sessions, user: User) -> None:
    got = held(sessions, user)
    with sessions.begin() as session:
        tasks.enter_stage(session, got, Stage.INFERRING)
        tasks.beat(session, got, timing=TIMING)
        tasks.complete(session, got, RESULT)
        session.flush()
        events = session.execute(
            select(TaskEvent.from_status, TaskEvent.status, TaskEvent.stage, TaskEvent.attempt)
            .where(TaskEvent.task_id == got.task_id)
            .order_by(TaskEvent.id)
        ).all()
    assert [tuple(event) for event in events] == [
        (None, "queued", None, 0),
        ("queued", "processing", "downloading", 1),
        ("processing", "processing", "inferring", 1),
        ("processing", "completed", None, 1),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        {"status": "processing"},
        {"status": "completed", "progress": 100, "finished_at": func.now()},
        {"status": "completed", "result_key": "k", "finished_at": func.now()},
        {"status": "failed", "finished_at": func.now()},
        {"status": "failed", "error_code": "x"},
        {"status": "asleep"},
        {"progress": 101},
        {"attempt": 11},
        {"retries": 4},
        {"confidence": 1.5},
        {"queue": "elsewhere"},
    ],
)
def test_the_database_refuses_impossible_rows(sessions: Sessions, user: User, broken: dict[str, Any]) -> None:
    task_id = make_task(sessions, user.id)
    with pytest.raises(IntegrityError):
        change(sessions, task_id, **broken)


def test_queue_facts(sessions: Sessions, user: User) -> None:
    with sessions.begin() as session:
        assert overview.queue_facts(session) == (0, None)
    make_task(sessions, user.id, age=100)
    make_task(sessions, user.id)
    with sessions.begin() as session:
        waiting, oldest = overview.queue_facts(session)
    assert waiting == 2
    assert oldest is not None
    assert 100 <= oldest < 130


@pytest.mark.parametrize("timeout", [5, 300, 3600])
def test_the_times_stand_in_their_order(timeout: int) -> None:
    timing = Timing.from_timeout(timeout)
    assert timing.soft_limit < timing.hard_limit < timing.attempt_bound < timing.visibility_timeout
    assert timing.lease > 3 * timing.heartbeat
    assert timing.stale_after > 2 * timing.heartbeat
