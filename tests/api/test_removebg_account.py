"""`GET /v1.0/account`: the credits of an account, which are the pictures that it may still have this month."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from fastapi.testclient import TestClient

from app.api.schemas.removebg_account import UNLIMITED
from app.core.config import Settings
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from app.services.identity import Scope
from app.storage.memory import MemoryStore
from tests.api.conftest import bearer
from tests.conftest import make_settings
from tests.doors.people import a_person
from tests.pictures import encoded

ACCOUNT = "/v1.0/account"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def serving(stack: ExitStack, settings: Settings) -> TestClient:
    return stack.enter_context(TestClient(create_app(settings, store=MemoryStore())))


def told(credits_left: int) -> object:
    """All that is answered: a client that knows no further member breaks on one."""
    return {
        "data": {
            "attributes": {
                "credits": {"subscription": credits_left, "payg": 0, "enterprise": 0, "total": credits_left},
                "api": {"free_calls": 0, "sizes": "all"},
            }
        }
    }


def test_credits_are_what_is_left_of_the_month(stack: ExitStack, environment: dict[str, str], user: User) -> None:
    settings = make_settings(environment, quota_images_per_month=2)
    client = serving(stack, settings)
    client.headers.update(bearer(settings, user.id))
    for left in (2, 1, 0):
        answer = client.get(ACCOUNT)
        assert (answer.status_code, answer.json()) == (200, told(left))
        sent = client.post("/api/v1/uploads", files={"file": ("cup.jpg", encoded())})
        assert sent.status_code == (202 if left else 429)
    assert client.get(ACCOUNT).json() == told(0)


def test_where_there_is_no_quota_there_are_many(
    stack: ExitStack, settings: Settings, sessions: Sessions, user: User
) -> None:
    client = serving(stack, settings)
    key = a_person(settings, sessions).key([Scope.READ])
    assert client.get(ACCOUNT, headers={"x-api-key": key["X-API-Key"]}).json() == told(UNLIMITED)
    assert client.get(ACCOUNT, headers=bearer(settings, user.id)).json() == told(UNLIMITED)


def test_an_open_door_needs_no_key(stack: ExitStack, environment: dict[str, str], sessions: Sessions) -> None:
    client = serving(stack, make_settings(environment, open_doors=True, quota_images_per_month=7))
    assert client.get(ACCOUNT).json() == told(7)
