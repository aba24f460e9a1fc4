"""Calls that were given up: whoever waited for a task and got no answer asks again, and is given that task.

Only then: equal calls at the same time are as many tasks. Nothing is left for one who names an `Idempotency-Key`, which
does the same and more.
"""

from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy.exc import SQLAlchemyError

from app.core.errors import NotFound
from app.core.logging import get_logger
from app.core.states import FAULTS_OF_OURS, TERMINAL, TaskStatus
from app.db import idempotency as db_idempotency
from app.db import tasks, usage
from app.db.base import Sessions
from app.db.idempotency import Once
from app.db.models import User
from app.services.idempotency import fingerprint
from app.services.imports import Imports, SentFile, Source
from app.services.judging import digest
from app.services.orders import Order
from app.services.status import Statuses

ROUTE = "given-up"
SOON = 600.0  # seconds, in which a call is the next try of another: later there may be another picture at a URL

log = get_logger(__name__)


@dataclass(frozen=True)
class Call:
    """One that waits for its task; `once` is where it is left if it is given up."""

    task_id: UUID
    once: Once | None


@dataclass(frozen=True)
class GivenUp:
    """The use case with the parts that it works on."""

    sessions: Sessions
    imports: Imports
    statuses: Statuses

    def begin(self, source: Source, *, user: User, order: Order) -> Call:
        """The task of an equal call that was given up, or a new one. Blocks; raises what `Imports.submit` does."""
        if order.idempotency_key is not None:
            return Call(self.imports.submit(source, user=user, order=order).task_id, None)
        named = {"sha256": digest(source.file)} if isinstance(source, SentFile) else source.named
        wanted = fingerprint({**named, **order.fingerprint})
        task_id = self._pick_up(user.id, wanted) or self.imports.submit(source, user=user, order=order).task_id
        return Call(task_id, Once(user.id, ROUTE, str(task_id), wanted, holder=uuid4()))

    def leave(self, call: Call) -> None:
        """Nobody has heard what became of the task. Blocks; a database that is away is no reason to say more."""
        if call.once is None:
            return
        try:
            with self.sessions.begin() as session:
                db_idempotency.leave(session, call.once, {"task_id": str(call.task_id)})
        except SQLAlchemyError as error:
            log.warning("call_not_left", task_id=str(call.task_id), error=type(error).__name__)

    def end(self, call: Call) -> None:
        """The call has come to nothing: nobody waits for another attempt, and its picture costs nothing. Blocks."""
        try:
            with self.sessions.begin() as session:
                tasks.give_up(session, call.task_id)
                usage.give_back(session, call.task_id)
                task = tasks.get(session, call.task_id)
                goes_on = task is not None and task.finished_at is None
        except SQLAlchemyError as error:
            log.warning("call_not_ended", task_id=str(call.task_id), error=type(error).__name__)
            return
        if goes_on:  # a worker was faster
            self.leave(call)

    def _pick_up(self, user_id: UUID, wanted: str) -> UUID | None:
        """Also one that has ended meanwhile, well or by its picture's own fault; what has by ours is tried anew."""
        while True:
            with self.sessions.begin() as session:
                said = db_idempotency.pick_up(session, user_id, ROUTE, wanted, within=SOON)
                if said is None:
                    return None
                task_id = UUID(said["task_id"])
            with suppress(NotFound):
                task = self.statuses.get(task_id, user_id).task
                has_failed = task.status == TaskStatus.FAILED
                if has_failed and task.error_code in FAULTS_OF_OURS:
                    with self.sessions.begin() as session:
                        usage.give_back(session, task_id)
                elif has_failed or task.status == TaskStatus.COMPLETED or task.status not in TERMINAL:
                    return task_id
