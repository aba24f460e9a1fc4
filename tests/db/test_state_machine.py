"""Two workers, a sweeper, an owner and a cleaner act at random on one task.

First on a model alone, many thousand times: whatever they do, its history keeps the promises. Then on real Postgres,
where every move must come out as the model says.
"""

import os
from collections.abc import Callable
from itertools import pairwise
from uuid import UUID

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
from app.db import retention, tasks
from app.db.base import Sessions
from app.db.models import TaskEvent
from app.db.tasks import MORE_ATTEMPTS, Claim
from tests.conftest import empty, make_user
from tests.factories import RESULT, TIMING, ago, change, make_task, row

# The long form: STATE_MACHINE_EXAMPLES=5000 ./scripts/test tests/db/test_state_machine.py
EXAMPLES = int(os.environ.get("STATE_MACHINE_EXAMPLES", "0"))
MAX_RETRIES, MAX_ATTEMPTS = 2, 6
NOWHERE = UUID(int=0)
ACTS = ["beat", "stage", "complete", "fail", "retry", "release"]
worker = st.integers(0, 1)


class ModelMachine(RuleBasedStateMachine):
    """The model: status, attempt, retries, the lease, and which attempt each worker believes to be making."""

    @initialize()
    def create(self) -> None:
        self.status, self.attempt, self.retries = TaskStatus.QUEUED, 0, 0
        self.max_attempts = MAX_ATTEMPTS
        self.lapsed = self.deleted = False
        self.beliefs: dict[int, int] = {}
        self.history = [(self.status, self.attempt)]
        self.begin()

    def begin(self) -> None:
        """Nothing to do for the model alone."""

    def asked(self, expected: bool, ask: Callable[[Session], object]) -> None:
        """The model's answer; the rows have to give the same one."""

    def move(self, status: TaskStatus) -> None:
        self.status = status
        self.history.append((status, self.attempt))

    def fault(self) -> None:
        exhausted = self.retries >= MAX_RETRIES
        self.retries = min(self.retries + 1, MAX_RETRIES)
        self.move(TaskStatus.FAILED if exhausted else TaskStatus.RETRYING)

    @rule(who=worker)
    def claim(self, who: int) -> None:
        claimable = self.status in WAITING and self.attempt < self.max_attempts
        self.asked(claimable, lambda session: tasks.claim(session, self.task_id, worker=f"w:{who}", timing=TIMING))
        if claimable:
            self.attempt += 1
            self.lapsed = False
            self.move(TaskStatus.PROCESSING)
            self.beliefs[who] = self.attempt

    @precondition(lambda self: self.beliefs)
    @rule(who=worker, act=st.sampled_from(ACTS))
    def work(self, who: int, act: str) -> None:
        if who not in self.beliefs:
            return
        holds = self.status == TaskStatus.PROCESSING and self.beliefs[who] == self.attempt
        self.asked(holds, lambda session: self.write(session, act, self.beliefs[who]))
        if not holds:
            return
        after = {"complete": TaskStatus.COMPLETED, "fail": TaskStatus.FAILED, "release": TaskStatus.QUEUED}
        if act == "beat":
            self.lapsed = False
        elif act == "retry":
            self.fault()
        elif act in after:
            self.move(after[act])

    def write(self, session: Session, act: str, attempt: int) -> object:
        held = Claim(self.task_id, attempt)
        acts: dict[str, Callable[[], object]] = {
            "beat": lambda: tasks.beat(session, held, timing=TIMING),
            "stage": lambda: tasks.enter_stage(session, held, Stage.INFERRING),
            "complete": lambda: tasks.complete(session, held, RESULT),
            "fail": lambda: tasks.fail(session, held, code="x", message="x"),
            "retry": lambda: tasks.retry_later(session, held, code="x", message="x", delay=1, timing=TIMING),
            "release": lambda: tasks.release(session, held),
        }
        return acts[act]()

    @precondition(lambda self: self.status == TaskStatus.PROCESSING)
    @rule()
    def lapse(self) -> None:
        self.lapsed = True
        self.let_the_lease_lapse()

    def let_the_lease_lapse(self) -> None:
        """Nothing to do for the model alone."""

    @rule()
    def reap(self) -> None:
        lost = self.status == TaskStatus.PROCESSING and self.lapsed
        self.asked(lost, lambda session: tasks.reap(session, timing=TIMING))
        if lost:
            self.fault()

    @rule()
    def end_overdue(self) -> None:
        overdue = self.status in WAITING and self.attempt >= self.max_attempts
        self.asked(overdue, lambda session: tasks.fail_overdue(session, timing=TIMING))
        if overdue:
            self.move(TaskStatus.FAILED)

    @rule()
    def cancel(self) -> None:
        possible = self.status not in TERMINAL
        self.asked(possible, lambda session: tasks.cancel(session, self.task_id))
        if possible:
            self.move(TaskStatus.CANCELLED)

    @rule()
    def requeue(self) -> None:
        possible = self.status in {TaskStatus.FAILED, TaskStatus.CANCELLED}
        self.asked(possible, lambda session: tasks.requeue(session, self.task_id))
        if possible:
            self.retries, self.max_attempts = 0, self.attempt + MORE_ATTEMPTS
            self.move(TaskStatus.QUEUED)

    @rule()
    def expire(self) -> None:
        ended = self.status in TERMINAL - {TaskStatus.EXPIRED}
        self.asked(ended, lambda session: retention.expire_tasks(session, retention.over(-60), limit=9))
        if ended:
            self.move(TaskStatus.EXPIRED)

    @rule()
    def delete(self) -> None:
        possible = self.status in TERMINAL and not self.deleted
        self.asked(possible, lambda session: tasks.delete(session, self.task_id))
        if possible:
            self.deleted = True
            if self.status != TaskStatus.EXPIRED:
                self.move(TaskStatus.EXPIRED)

    task_id = NOWHERE  # of the row, where there is one

    @invariant()
    def the_promises_are_kept(self) -> None:
        if not hasattr(self, "history"):
            return
        completed = 0
        for (before, was), (after, attempt) in pairwise(self.history):
            assert after in TRANSITIONS[before]
            assert attempt == was + (after == TaskStatus.PROCESSING)
            completed += after == TaskStatus.COMPLETED
        assert completed <= 1
        assert self.retries <= MAX_RETRIES
        assert self.attempt <= self.max_attempts


class RowMachine(ModelMachine):
    """The same, with a row in Postgres that has to follow."""

    sessions: Sessions
    engine: Engine

    def begin(self) -> None:
        user = make_user(self.sessions)
        self.task_id = make_task(self.sessions, user.id, max_retries=MAX_RETRIES, max_attempts=MAX_ATTEMPTS)

    def asked(self, expected: bool, ask: Callable[[Session], object]) -> None:
        if self.status in WAITING:
            change(self.sessions, self.task_id, run_at=ago(1))
        with self.sessions.begin() as session:
            answer = ask(session)
        assert bool(answer) == expected

    def let_the_lease_lapse(self) -> None:
        change(self.sessions, self.task_id, lease_until=ago(1))

    @invariant()
    def the_row_is_the_model(self) -> None:
        if self.task_id == NOWHERE:
            return
        task = row(self.sessions, self.task_id)
        assert (task.status, task.attempt, task.retries) == (self.status, self.attempt, self.retries)
        assert (task.deleted_at is not None) == self.deleted

    def teardown(self) -> None:
        if self.task_id == NOWHERE:
            return
        with self.sessions.begin() as session:
            query = select(TaskEvent).where(TaskEvent.task_id == self.task_id).order_by(TaskEvent.id)
            events = [event for event in session.scalars(query) if event.status != event.from_status]
        assert [(event.status, event.attempt) for event in events] == self.history
        empty(self.engine)


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )


@pytest.mark.timeout(3600)
def test_the_model_keeps_the_promises() -> None:
    run_state_machine_as_test(ModelMachine, settings=_settings(EXAMPLES or 300, 50))


@pytest.mark.timeout(3600)
def test_the_row_follows_the_model(sessions: Sessions, engine: Engine) -> None:
    class Machine(RowMachine):
        pass

    Machine.sessions, Machine.engine = sessions, engine
    run_state_machine_as_test(Machine, settings=_settings(min(EXAMPLES, 300) or 40, 25))
