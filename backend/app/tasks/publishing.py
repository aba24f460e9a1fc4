"""Ringing the bell: from one background thread of each process, and from the sweeper."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Full, Queue
from uuid import UUID

from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import ChannelError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.failpoints import failpoint
from app.core.logging import get_logger
from app.db import dispatch
from app.db.base import Sessions
from app.services.counting import RINGS, Counts
from app.tasks.celery_app import QUEUES, TASK, make_publisher_app

BREAK = 5.0  # seconds without a try after the broker failed
BACKLOG = 10_000
NOT_FOUND = "404"

Marking = Callable[[Session], UUID | None]  # marks a row as rung for, and says which

log = get_logger(__name__)


class Publisher:
    """Sends messages and counts those that wait. Raises when the broker does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._app: Celery = make_publisher_app(settings)

    def publish(self, task_id: UUID, queue: str) -> None:
        self._app.send_task(TASK, args=(str(task_id),), queue=queue, task_id=str(task_id))

    def ready(self) -> Mapping[str, int]:
        """The number of messages that wait in each queue. Also a good way to ask whether the broker is there."""
        with self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=0)
            return {name: _length(connection, name) for name in QUEUES}

    def close(self) -> None:
        self._app.close()


def _length(connection: Connection, name: str) -> int:
    try:
        with connection.channel() as channel:  # each its own: RabbitMQ closes it when there is no such queue
            return int(channel.queue_declare(queue=name, passive=True).message_count)
    except ChannelError as error:
        if str(error.reply_code) != NOT_FOUND:
            raise
        return 0  # in Redis an empty queue does not exist; in RabbitMQ nobody has declared it yet


class BackgroundBell:
    """A `Bell` that only hands over; a thread marks the row and publishes, and what fails the sweeper rings."""

    def __init__(
        self, publisher: Publisher, sessions: Sessions, counts: Counts | None = None, *, by: str = "api"
    ) -> None:
        """`by`: which kind of process this is, for the counts."""
        self._publisher = publisher
        self._sessions = sessions
        self._counts = counts or Counts()
        self._by = by
        self._waiting: Queue[tuple[str, Marking] | None] = Queue(BACKLOG)
        self._closed_until = 0.0
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ring(self, task_id: UUID, queue: str) -> None:
        self._hand_over(queue, lambda session: task_id if dispatch.stamp_new(session, task_id) else None)

    def ring_next(self, user_id: UUID, queue: str) -> None:
        self._hand_over(queue, lambda session: dispatch.stamp_next(session, user_id, queue))

    def close(self) -> None:
        """Ring for what waits, for a moment; the sweeper does the rest."""
        with suppress(Full):
            self._waiting.put_nowait(None)
        self._thread.join(timeout=3)

    def _hand_over(self, queue: str, mark: Marking) -> None:
        try:
            self._waiting.put_nowait((queue, mark))
        except Full:
            log.warning("bell_overrun")

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if time.monotonic() >= self._closed_until:
                self._ring(*item)

    def _ring(self, queue: str, mark: Marking) -> None:
        try:
            with self._sessions.begin() as session:
                task_id = mark(session)
        except SQLAlchemyError as error:
            log.warning("dispatch_not_marked", error=type(error).__name__)
            return
        if task_id is None:  # rung for already, or its account has to wait for a turn
            return
        failpoint("bell_marked")
        try:
            self._publisher.publish(task_id, queue)
        except Exception as error:
            self._closed_until = time.monotonic() + BREAK
            log.warning("bell_failed", task_id=str(task_id), error=type(error).__name__)
            with suppress(SQLAlchemyError), self._sessions.begin() as session:
                dispatch.unstamp(session, [task_id])
            return
        self._counts.add(RINGS, by=self._by, kind="first")
