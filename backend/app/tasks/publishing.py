"""Ringing the bell: from one background thread of the API process, and from the sweeper."""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from queue import Full, Queue
from uuid import UUID

from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import ChannelError
from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Settings
from app.core.logging import get_logger
from app.db import tasks
from app.db.base import Sessions
from app.tasks.celery_app import QUEUES, TASK, make_publisher_app

BREAK = 5.0  # seconds without a try after the broker failed
BACKLOG = 10_000
NOT_FOUND = "404"

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
    """The API's bell. `ring` only hands over; a thread publishes, and what fails the sweeper rings."""

    def __init__(self, publisher: Publisher, sessions: Sessions) -> None:
        self._publisher = publisher
        self._sessions = sessions
        self._waiting: Queue[tuple[UUID, str] | None] = Queue(BACKLOG)
        self._closed_until = 0.0
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ring(self, task_id: UUID, queue: str) -> None:
        try:
            self._waiting.put_nowait((task_id, queue))
        except Full:
            log.warning("bell_overrun", task_id=str(task_id))

    def close(self) -> None:
        """Ring for what waits, for a moment; the sweeper does the rest."""
        with suppress(Full):
            self._waiting.put_nowait(None)
        self._thread.join(timeout=3)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if time.monotonic() >= self._closed_until:
                self._ring(*item)

    def _ring(self, task_id: UUID, queue: str) -> None:
        try:
            self._publisher.publish(task_id, queue)
        except Exception as error:
            self._closed_until = time.monotonic() + BREAK
            log.warning("bell_failed", task_id=str(task_id), error=type(error).__name__)
            return
        try:
            with self._sessions.begin() as session:
                tasks.mark_dispatched(session, task_id)
        except SQLAlchemyError as error:
            # Unmarked it will be rung for twice, which does no harm.
            log.warning("dispatch_not_marked", task_id=str(task_id), error=type(error).__name__)
