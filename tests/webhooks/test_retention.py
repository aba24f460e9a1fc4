"""What is past its time goes, of webhooks, too."""

import pytest
from sqlalchemy import func, select, update

from app.core.config import Settings
from app.db import webhooks
from app.db.base import Sessions
from app.db.models import User, WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookSecret
from app.db.webhooks import Claimed, Tried
from app.services.retention import Retention
from app.services.webhooks import Webhooks
from app.storage.memory import MemoryStore
from tests.factories import ago
from tests.webhooks.messages import PAYLOAD, delivery, make_delivery

DAY = 86_400
URL = "https://shop.example.com/hook"


def count(sessions: Sessions, table: type) -> int:
    with sessions.begin() as session:
        return session.execute(select(func.count()).select_from(table)).scalar_one()


@pytest.fixture
def retention(settings: Settings, sessions: Sessions) -> Retention:
    return Retention(settings, sessions, MemoryStore())


def test_messages_go_a_month_after_their_end(retention: Retention, sessions: Sessions, user: User) -> None:
    old, kept = (
        make_delivery(sessions, user.id, URL, status="failed", ended_at=ago(days * DAY)) for days in (30.01, 29.99)
    )
    pending = make_delivery(sessions, user.id, "https://other.example.com/", created_at=ago(90 * DAY))
    with sessions.begin() as session:
        claimed = Claimed(old, user.id, URL, "", PAYLOAD, 1)
        webhooks.note(session, claimed, Tried(500, "refused", 0.1))
        session.add(WebhookEndpoint(user_id=user.id, url=URL, disabled_at=func.now()))
        session.add(WebhookEndpoint(user_id=user.id, url="https://unused.example.com/", disabled_at=func.now()))
    retention.clean()
    assert (delivery(sessions, kept).status, delivery(sessions, pending).status) == ("failed", "pending")
    assert [count(sessions, table) for table in (WebhookDelivery, WebhookAttempt, WebhookEndpoint)] == [2, 0, 1]


def test_a_secret_goes_when_it_signs_no_more(retention: Retention, sessions: Sessions, user: User) -> None:
    use_case = Webhooks(sessions)
    use_case.signing(user.id)
    kept = use_case.rotate(user.id)
    retention.clean()
    assert count(sessions, WebhookSecret) == 2
    with sessions.begin() as session:
        ended = update(WebhookSecret).where(WebhookSecret.expires_at.is_not(None))
        session.execute(ended.values(expires_at=ago(1)))
    assert use_case.signing(user.id).keys == [kept.secret]
    retention.clean()
    assert count(sessions, WebhookSecret) == 1
