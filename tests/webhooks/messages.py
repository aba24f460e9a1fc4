"""Messages in the database, and receivers of them."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, update
from standardwebhooks import Webhook

from app.core.config import Settings
from app.db import webhooks
from app.db.base import Sessions
from app.db.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from app.outbound.client import Outbound
from app.services.counting import Counts
from app.services.deliveries import Deliveries
from app.services.webhooks import Webhooks
from tests.embedded_services import wait_for
from tests.outbound.sites import Answer, Site, ok

PAYLOAD = {"type": "task.completed", "timestamp": "2026-11-22T10:15:00.123Z", "data": {"task_id": "ä", "n": None}}
OK = ok(b"")


def status(number: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {number} So", "Content-Length: 0", *headers, "", ""]).encode()


def in_turn(*answers: bytes) -> Answer:
    """Each answer once, and the last one from then on."""
    left = list(answers)

    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return answer


@dataclass(frozen=True)
class Message:
    """What a receiver got."""

    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, request: bytes) -> "Message":
        head, _, body = request.partition(b"\r\n\r\n")
        pairs = (line.partition(": ") for line in head.decode().split("\r\n")[1:])
        return cls({name.lower(): value for name, _, value in pairs}, body)

    @property
    def id(self) -> UUID:
        return UUID(self.headers["webhook-id"])

    def verified(self, secret: str) -> Any:
        """As a client would; raises when the signature is not right."""
        return Webhook(secret).verify(self.body, self.headers)


def received(there: Site) -> list[Message]:
    return [Message.of(request) for request in there.requests]


def make_delivery(sessions: Sessions, user_id: UUID, url: str = "http://127.0.0.1:9/", **columns: Any) -> UUID:
    made = uuid4()
    values: dict[str, Any] = {"type": "task.completed", "payload": PAYLOAD} | columns
    with sessions.begin() as session:
        session.add(WebhookDelivery(id=made, user_id=user_id, url=url, **values))
    return made


def delivery(sessions: Sessions, delivery_id: UUID) -> WebhookDelivery:
    with sessions.begin() as session:
        return session.scalars(select(WebhookDelivery).where(WebhookDelivery.id == delivery_id)).one()


def told(sessions: Sessions, task_id: UUID) -> list[WebhookDelivery]:
    """What is to be said of a task, oldest first."""
    query = select(WebhookDelivery).where(WebhookDelivery.task_id == task_id).order_by(WebhookDelivery.created_at)
    with sessions.begin() as session:
        return list(session.scalars(query))


def tries(sessions: Sessions, delivery_id: UUID) -> list[WebhookAttempt]:
    with sessions.begin() as session:
        return list(webhooks.attempts(session, delivery_id))


def endpoint(sessions: Sessions, url: str) -> WebhookEndpoint | None:
    with sessions.begin() as session:
        return session.scalar(select(WebhookEndpoint).where(WebhookEndpoint.url == url))


def seconds_to_next(sessions: Sessions, delivery_id: UUID) -> float:
    wait = func.extract("epoch", WebhookDelivery.next_at - func.now())
    with sessions.begin() as session:
        return float(session.execute(select(wait).where(WebhookDelivery.id == delivery_id)).scalar_one())


def make_due(sessions: Sessions, delivery_id: UUID) -> None:
    """Its time has come, by the database's clock."""
    with sessions.begin() as session:
        session.execute(update(WebhookDelivery).where(WebhookDelivery.id == delivery_id).values(next_at=func.now()))


def wait_tried(sessions: Sessions, delivery_id: UUID, times: int) -> None:
    wait_for(lambda: len(tries(sessions, delivery_id)) >= times, f"{times} tries", seconds=10)


def secret_of(sessions: Sessions, user_id: UUID) -> str:
    return Webhooks(sessions).signing(user_id).secret


@dataclass(frozen=True)
class Courier:
    """Delivers webhooks to loopback."""

    settings: Settings
    sessions: Sessions
    counts: Counts

    @contextmanager
    def at_work(self, *, seconds: float = 5, chance: float = 0.5, **settings: Any) -> Iterator[Deliveries]:
        changed = self.settings.model_copy(update={"outbound_allowed_networks": ("127.0.0.0/8",), **settings})
        outbound = Outbound(changed, total_seconds=seconds)
        running = Deliveries(changed, self.sessions, outbound, self.counts, every=0.02, chance=lambda: chance)
        running.start()
        try:
            yield running
        finally:
            running.close()
