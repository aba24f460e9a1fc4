"""The API with its real database, queue and store; requests run in this process."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from app.core.config import Settings
from app.core.security import create_access_token
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from app.storage.s3 import S3Store


@pytest.fixture
def client(settings: Settings, sessions: Sessions, s3_store: S3Store) -> Iterator[TestClient]:
    """An anonymous client; `sessions` empties the database afterwards."""
    with TestClient(create_app(settings), follow_redirects=False) as client:
        yield client


@pytest.fixture
def headers(settings: Settings, user: User) -> dict[str, str]:
    """The headers of a logged-in account."""
    return bearer(settings, user.id)


def bearer(settings: Settings, user_id: UUID) -> dict[str, str]:
    token = create_access_token(user_id, secret=settings.secret_key.get_secret_value(), ttl_seconds=60)
    return {"Authorization": f"Bearer {token}"}
