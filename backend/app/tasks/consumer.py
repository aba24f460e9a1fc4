"""Celery's consumer, made so that no message ends it.

Celery trusts what it unpacks in the worker's main process: an error there ends the process, and the broker hands the
same message to the next one, again and again. The queue of other programs may hold anything.
"""

import pickle  # noqa: TID251 - as the pool does; nothing is read with it here
from collections.abc import Callable
from functools import reduce
from typing import Any

from celery.worker.consumer import Consumer as CelerysConsumer
from kombu.message import Message

from app.core.logging import get_logger

DEEPER = 50  # levels: the pool pickles from a deeper place, and more than we do here

log = get_logger(__name__)


class Consumer(CelerysConsumer):  # type: ignore[misc]  # Celery carries no types
    def create_task_handler(self, *args: Any, **named: Any) -> Callable[[Message], None]:
        """What is called with each message."""
        handle = super().create_task_handler(*args, **named)

        def take(message: Message) -> None:
            try:
                prepare(message)
                handle(message)
            except self.connection_errors:
                raise
            except Exception as error:
                # Without what it says: there are addresses in it.
                log.warning("message_refused", error=type(error).__name__)
                if not message.acknowledged:
                    message.reject_log_error(log, self.connection_errors)

        return take


def prepare(message: Message) -> None:
    """Raise what Celery would only after it has counted the message as being worked on. The time limits are ours."""
    body = message.decode()  # which the message keeps
    for envelope in (message.headers, body):
        if isinstance(envelope, dict):  # the body is one in the older of Celery's two protocols
            envelope.pop("timelimit", None)
            if not isinstance(envelope.get("id", ""), str):
                raise TypeError("The id is no text.")
    pickle.dumps(reduce(lambda inner, _: [inner], range(DEEPER), [message.headers, message.properties, body]))
