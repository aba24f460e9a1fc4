"""Connections to the database: one that has died in the pool is replaced before anybody works with it."""

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from app.core.config import Settings
from app.db import base
from app.db.base import make_engine

END_OTHERS = text(
    "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'resting'"
)


def connect_twice(engine: Engine) -> None:
    """Two connections, both back in the pool."""
    with engine.connect() as first, engine.connect() as second:
        first.execute(text("SELECT 1"))
        second.execute(text("SELECT 1"))


@pytest.fixture
def pooled(settings: Settings) -> Engine:
    return make_engine(f"{settings.sqlalchemy_url}?application_name=resting")


def test_dead_connections_are_replaced(pooled: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "REST", 0.0)
    connect_twice(pooled)
    other = make_engine(settings.sqlalchemy_url)
    with other.connect() as connection:
        assert connection.execute(END_OTHERS).scalar_one() == 2
    connect_twice(pooled)
    pooled.dispose()
    other.dispose()


def test_one_that_dies_in_use_takes_the_pool_along(pooled: Engine, settings: Settings) -> None:
    connect_twice(pooled)
    other = make_engine(settings.sqlalchemy_url)
    with other.connect() as connection:
        connection.execute(END_OTHERS)
    with pytest.raises(OperationalError), pooled.connect() as connection:
        connection.execute(text("SELECT 1"))
    connect_twice(pooled)
    pooled.dispose()
    other.dispose()
