"""What the worker's main process does when a child dies."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from billiard.exceptions import WorkerLostError
from celery.exceptions import TimeLimitExceeded
from kombu.connection import Connection

from app.core.states import TaskStatus
from app.db import counters, tasks
from app.db.base import Sessions
from app.db.models import Task, User
from app.services.counting import REAPS, TASKS_ENDED
from app.tasks.deaths import ReportedRequest, TakingBack, count_oom_kills
from tests.embedded_services import wait_for
from tests.factories import TIMING, change, claim, make_task, row

PID = 4711
CHILD = f"{socket.gethostname()}:{PID}"
DELAY = 60
SEGFAULT = WorkerLostError(f"Worker exited prematurely: signal {signal.SIGSEGV.value} (SIGSEGV) Job: 3.")
SIGKILL = WorkerLostError(f"Worker exited prematurely: signal {signal.SIGKILL.value} (SIGKILL) Job: 3.")


@pytest.fixture
def kernel() -> list[int]:
    """How many processes the kernel has killed for memory, as the test says."""
    return [2]


@pytest.fixture
def report(sessions: Sessions, kernel: list[int]) -> Callable[[UUID, BaseException], None]:
    taking_back = TakingBack(sessions, TIMING, DELAY, lambda: kernel[0])
    taking_back.start()
    return lambda task_id, error: taking_back.report(task_id, PID, error)


def begun(sessions: Sessions, user: User, worker: str = CHILD) -> UUID:
    task_id = make_task(sessions, user.id)
    assert claim(sessions, task_id, worker)
    return task_id


def taken_back(sessions: Sessions, task_id: UUID) -> Task:
    wait_for(lambda: row(sessions, task_id).status != TaskStatus.PROCESSING, "it is taken back", seconds=5)
    return row(sessions, task_id)


@pytest.mark.parametrize(
    ("error", "code", "base"),
    [
        (SEGFAULT, "worker_lost", TIMING.lost_retry_base),
        (SIGKILL, "worker_lost", TIMING.lost_retry_base),
        (SystemExit(1), "worker_lost", TIMING.lost_retry_base),
        (TimeLimitExceeded(315), "timeout", DELAY),
        (MemoryError(), "oom", DELAY),
    ],
)
def test_its_task_is_tried_again(
    sessions: Sessions, user: User, report: Callable[..., None], error: BaseException, code: str, base: float
) -> None:
    task_id = begun(sessions, user)
    report(task_id, error)
    task = taken_back(sessions, task_id)
    assert (task.status, task.error_code, task.retries, task.lease_until) == ("retrying", code, 1, None)
    assert task.error_message
    assert 0.5 * base <= (task.run_at - task.updated_at).total_seconds() <= 1.5 * base


def test_the_kernels_doing_is_told_from_others(
    sessions: Sessions, user: User, report: Callable[..., None], kernel: list[int]
) -> None:
    first, second, third = (begun(sessions, user) for _ in range(3))
    kernel[0] += 1
    report(first, SIGKILL)
    report(second, SIGKILL)
    assert taken_back(sessions, first).error_code == "oom"
    assert taken_back(sessions, second).error_code == "worker_lost"
    kernel[0] += 1
    report(third, SEGFAULT)
    assert taken_back(sessions, third).error_code == "worker_lost"


def test_what_the_child_did_not_hold_is_left_alone(sessions: Sessions, user: User, report: Callable[..., None]) -> None:
    others, crashed, last = begun(sessions, user, "elsewhere:4711"), begun(sessions, user), begun(sessions, user)
    report(others, SEGFAULT)
    report(crashed, ValueError("an error that did not end the child"))
    report(last, SEGFAULT)
    taken_back(sessions, last)  # they are dealt with in turn
    assert row(sessions, others).status == row(sessions, crashed).status == TaskStatus.PROCESSING


def test_a_second_report_changes_nothing(sessions: Sessions, user: User, report: Callable[..., None]) -> None:
    task_id, last = begun(sessions, user), begun(sessions, user)
    for each in (task_id, task_id, last):
        report(each, TimeLimitExceeded(315))
    taken_back(sessions, last)
    assert row(sessions, task_id).retries == 1


def test_an_attempt_that_began_after_the_death_is_not_meant(sessions: Sessions, user: User) -> None:
    task_id = begun(sessions, user)

    def take_back(before: float) -> TaskStatus | None:
        with sessions.begin() as session:
            return tasks.take_back(
                session, task_id, worker=CHILD, before=before, code="oom", message="-", delay=1, timing=TIMING
            )

    assert take_back(5) is None
    assert take_back(0) == TaskStatus.RETRYING


def test_the_kernels_count_is_read_where_it_stands(tmp_path: Path) -> None:
    own, events = tmp_path / "own", tmp_path / "system.slice" / "quickbg.service" / "memory.events"
    own.write_text("4:memory:/old\n0::/system.slice/quickbg.service\n")
    assert count_oom_kills(tmp_path, own) == 0
    events.parent.mkdir(parents=True)
    events.write_text("low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 0\n")
    assert count_oom_kills(tmp_path, own) == 3
    assert count_oom_kills(tmp_path, tmp_path / "none") == 0


def test_a_message_whose_end_the_broker_did_not_hear_makes_room() -> None:
    """Otherwise each such loss would leave a child without work for as long as the worker lives."""

    def away(*_: object, **__: object) -> None:
        raise OSError("timed out")

    with Connection("memory://") as connection, connection.channel() as channel:  # type: ignore[no-untyped-call]
        queue = connection.SimpleQueue("heard")
        queue.put({"id": 1})
        message = queue.get(timeout=5)
        qos = message.channel.qos
        qos.prefetch_count = 1
        assert not qos.can_consume()
        message.channel.basic_ack = away
        request = ReportedRequest.__new__(ReportedRequest)
        request._message, request._on_ack = message, message.ack_log_error
        request._connection_errors, request.acknowledged = (OSError,), False
        request.acknowledge()
        assert qos.can_consume()
        queue.close()
        channel.close()


def test_what_ends_here_is_counted(
    report: Callable[[UUID, BaseException], None], sessions: Sessions, user: User
) -> None:
    first, last = begun(sessions, user), begun(sessions, user)
    change(sessions, last, max_retries=0)
    for task_id in (first, last):
        report(task_id, SEGFAULT)

    def counted() -> dict[str, float]:
        with sessions.begin() as session:
            return {name: value for (name, _), value in counters.totals(session).items()}

    wait_for(lambda: counted() == {REAPS: 2, TASKS_ENDED: 1}, "both are counted", seconds=5)
