"""Two workers, a sweeper and an owner act at random on one task: the row follows the model, whatever they do."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.core.states import TERMINAL, TRANSITIONS, WAITING, Stage, TaskStatus
from app.db import tasks
from app.db.base import Sessions
from app.db.models import TaskEvent
from app.db.tasks import Claim
from tests.conftest import empty, make_user
from tests.factories import RESULT, TIMING, ago, change, make_task, row

MAX_RETRIES, MAX_ATTEMPTS = 2, 6
worker = st.integers(0, 1)


class TaskMachine(RuleBasedStateMachine):
    """The model: status, attempt, retries, and which claim each worker believes in."""

    sessions: Sessions
    engine: Engine

    @initialize()
    def create(self) -> None:
        user = make_user(self.sessions)
        self.task_id = make_task(self.sessions, user.id, max_retries=MAX_RETRIES, max_attempts=MAX_ATTEMPTS)
        self.status, self.attempt, self.retries = TaskStatus.QUEUED, 0, 0
        self.lapsed = False
        self.beliefs: dict[int, Claim | None] = {0: None, 1: None}

    @contextmanager
    def write(self) -> Iterator[Session]:
        with self.sessions.begin() as session:
            yield session

    def holds(self, belief: Claim | None) -> bool:
        return belief is not None and self.status == TaskStatus.PROCESSING and belief.attempt == self.attempt

    def fault(self) -> None:
        self.status = TaskStatus.FAILED if self.retries >= MAX_RETRIES else TaskStatus.RETRYING
        self.retries = min(self.retries + 1, MAX_RETRIES)

    @rule(who=worker)
    def claim(self, who: int) -> None:
        change(self.sessions, self.task_id, run_at=ago(1))
        expected = self.status in WAITING and self.attempt < MAX_ATTEMPTS
        with self.write() as session:
            got = tasks.claim(session, self.task_id, worker=f"w:{who}", timing=TIMING)
        assert (got is not None) == expected
        if got is not None:
            self.status, self.attempt, self.lapsed = TaskStatus.PROCESSING, self.attempt + 1, False
            assert got.attempt == self.attempt
            self.beliefs[who] = got

    @precondition(lambda self: any(self.beliefs.values()))
    @rule(who=worker, act=st.sampled_from(["beat", "stage", "complete", "fail", "retry", "release"]))
    def work(self, who: int, act: str) -> None:
        belief = self.beliefs[who]
        if belief is None:
            return
        held = self.holds(belief)
        with self.write() as session:
            if act == "beat":
                done = tasks.beat(session, belief, timing=TIMING)
                self.lapsed = self.lapsed and not done
            elif act == "stage":
                done = tasks.enter_stage(session, belief, Stage.INFERRING)
            elif act == "complete":
                done = tasks.complete(session, belief, RESULT)
            elif act == "fail":
                done = tasks.fail(session, belief, code="x", message="x")
            elif act == "retry":
                done = tasks.retry_later(session, belief, code="x", message="x", delay=1, timing=TIMING) is not None
            else:
                done = tasks.release(session, belief)
        assert done == held
        if held:
            self.follow(act)

    def follow(self, act: str) -> None:
        if act == "retry":
            self.fault()
        after = {"complete": TaskStatus.COMPLETED, "fail": TaskStatus.FAILED, "release": TaskStatus.QUEUED}
        self.status = after.get(act, self.status)

    @precondition(lambda self: self.status == TaskStatus.PROCESSING)
    @rule()
    def lapse(self) -> None:
        change(self.sessions, self.task_id, lease_until=ago(1))
        self.lapsed = True

    @rule()
    def reap(self) -> None:
        with self.write() as session:
            lost = tasks.reap(session, timing=TIMING)
        assert bool(lost) == (self.status == TaskStatus.PROCESSING and self.lapsed)
        if lost:
            self.fault()

    @rule()
    def end_overdue(self) -> None:
        with self.write() as session:
            ended = tasks.fail_overdue(session, timing=TIMING)
        assert bool(ended) == (self.status in WAITING and self.attempt >= MAX_ATTEMPTS)
        if ended:
            self.status = TaskStatus.FAILED

    @invariant()
    def the_row_is_the_model(self) -> None:
        if not hasattr(self, "task_id"):
            return
        task = row(self.sessions, self.task_id)
        assert (task.status, task.attempt, task.retries) == (self.status, self.attempt, self.retries)

    def teardown(self) -> None:
        if not hasattr(self, "task_id"):
            return
        with self.write() as session:
            query = select(TaskEvent).where(TaskEvent.task_id == self.task_id).order_by(TaskEvent.id)
            events = session.scalars(query).all()
        assert events[0].from_status is None
        for before, after in pairwise(events):
            assert after.from_status == before.status
            assert after.status in TRANSITIONS[TaskStatus(before.status)]
            assert after.attempt >= before.attempt
            assert before.status not in TERMINAL
        empty(self.engine)


@pytest.mark.timeout(300)
def test_the_row_follows_the_model(sessions: Sessions, engine: Engine) -> None:
    class Machine(TaskMachine):
        pass

    Machine.sessions, Machine.engine = sessions, engine
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
