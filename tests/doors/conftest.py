"""The API as its own description shows it."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.core.config import Settings
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from app.storage.s3 import S3Store
from tests.api.accounts import promote
from tests.api.conftest import bearer
from tests.doors.fuzzing import deployed
from tests.e2e.conftest import Deployment
from tests.embedded_services import RunningServices


@pytest.fixture(scope="package")
def app(settings: Settings, engine: Engine, s3_store: S3Store) -> Iterator[TestClient]:
    """With every door shut that can be; nobody is at work here, so there is nothing to wait for."""
    made = settings.model_copy(
        update={"metrics_open": False, "sync_wait_seconds": 0.0, "drop_in_wait_seconds": 0.0, "improve_enabled": True}
    )
    with TestClient(create_app(made), follow_redirects=False) as client:
        yield client


@pytest.fixture
def client(app: TestClient, sessions: Sessions) -> Iterator[TestClient]:
    """An anonymous client; `sessions` empties the database afterwards."""
    yield app
    app.headers.pop("Authorization", None)


@pytest.fixture
def administrator(client: TestClient, settings: Settings, sessions: Sessions, user: User) -> TestClient:
    """The client, with a token of an administrator."""
    promote(sessions, user.id)
    client.headers.update(bearer(settings, user.id))
    return client


@pytest.fixture(scope="package")
def deployment(services: RunningServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(services, tmp_path_factory.mktemp("doors"), LOG_LEVEL="DEBUG") as made:
        yield made
