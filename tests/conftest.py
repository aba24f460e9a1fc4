"""Real services for every test that needs one: started once for each pytest process, on ports and data of their own."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from alembic import command
from pydantic_settings import SettingsConfigDict
from sqlalchemy import Engine, text

from app.core.config import Settings
from app.db import users
from app.db.base import Base, Sessions, make_engine, make_sessions
from app.db.migrations import alembic_config
from app.db.models import User
from app.storage.s3 import S3Store
from tests.embedded_services import RunningServices, start_services

DATABASE = "quickbg_test"
# Tests are in a hurry; those of the limits set their own.
UNLIMITED = {
    "RATE_LIMIT_REQUESTS_PER_MINUTE": "0",
    "RATE_LIMIT_READS_PER_MINUTE": "0",
    "RATE_LIMIT_MEGAPIXELS_PER_MINUTE": "0",
    "RATE_LIMIT_LOGINS_PER_MINUTE": "0",
    "QUOTA_ACTIVE_TASKS": "0",
}


class TestSettings(Settings):
    """The settings without the `.env` of whoever runs the tests."""

    __test__ = False
    model_config = SettingsConfigDict(env_file=None)


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServices]:
    with start_services(tmp_path_factory.mktemp("services")) as running:
        yield running


@pytest.fixture(scope="session")
def environment(services: RunningServices, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process of ours needs in its environment: a database of the tests' own, short retries."""
    return make_environment(services, DATABASE, tmp_path_factory.mktemp("logs"))


def make_environment(services: RunningServices, database: str, logs: Path) -> dict[str, str]:
    """With a new, empty database of this name on the running server."""
    url = services.env["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}")
    return {
        **services.env,
        "ENV": "test",
        "DATABASE_URL": f"{url.rsplit('/', 1)[0]}/{database}",
        "LOG_DIR": str(logs),
        "TASK_RETRY_DELAY_SECONDS": "1",
        **UNLIMITED,
    }


@pytest.fixture(scope="session")
def settings(environment: dict[str, str]) -> Settings:
    settings = make_settings(environment)
    # The tests empty every table: they refuse to do so to a database that is not theirs.
    assert settings.sqlalchemy_url.endswith("_test")
    return settings


def make_settings(environment: dict[str, str], **changes: object) -> Settings:
    known = {name.lower(): value for name, value in environment.items() if name.lower() in Settings.model_fields}
    return TestSettings.model_validate(known | changes)


@pytest.fixture(scope="session")
def engine(settings: Settings) -> Iterator[Engine]:
    command.upgrade(alembic_config(settings.sqlalchemy_url), "head")
    engine = make_engine(settings.sqlalchemy_url)
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> Iterator[Sessions]:
    """Sessions on an empty, migrated database."""
    yield make_sessions(engine)
    empty(engine)


def empty(engine: Engine) -> None:
    names = ", ".join(table.name for table in Base.metadata.sorted_tables)
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {names} CASCADE"))


@pytest.fixture
def user(sessions: Sessions) -> User:
    return make_user(sessions)


def make_user(sessions: Sessions, user_id: UUID | None = None) -> User:
    user_id = user_id or uuid4()
    with sessions.begin() as session:
        made = users.create(session, user_id, f"{user_id}@example.com")
    assert made is not None
    return made


@pytest.fixture(scope="session")
def s3_store(settings: Settings) -> S3Store:
    store = S3Store(settings)
    store.prepare()
    return store


@pytest.fixture(scope="session")
def project() -> Path:
    return Path(__file__).parents[1]
