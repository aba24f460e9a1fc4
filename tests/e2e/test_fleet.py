"""Two APIs, two workers and three sweepers on one set of services: each can be replaced while pictures come in."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from alembic import command

from app.core.security import create_access_token
from app.db import users
from app.db.base import make_engine, make_sessions
from app.db.migrations import Schema, alembic_config
from app.storage.s3 import S3Store
from tests.conftest import make_environment, make_settings
from tests.e2e.fleet import Balancer, Fleet, migration_after, uploading
from tests.embedded_services import RunningServices, wait_for
from tests.pictures import encoded

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.timeout(3600)]

# The long form: ROLLING_RESTARTS=20 ./scripts/test tests/e2e/test_fleet.py
ROLLING_RESTARTS = int(os.environ.get("ROLLING_RESTARTS", "1"))
UPLOADS_PER_SECOND = 2
SWEEPERS = ("sweeper-1", "sweeper-2", "sweeper-3")
REPLACED = ("worker-1", "worker-2", "api-1", "api-2", "sweeper-1")


@pytest.fixture
def fleet(services: RunningServices, small_model: str, tmp_path: Path) -> Iterator[Fleet]:
    """What is replaced here is processes, not the engine."""
    environment = make_environment(services, "fleet_test", tmp_path)
    environment |= {
        "REDIS_URL": environment["REDIS_URL"].removesuffix("/0") + "/2",
        "MODEL_PATH": small_model,
        "WORKER_CONCURRENCY": "1",
        "DRAIN_SECONDS": "1",
    }
    settings = make_settings(environment)
    command.upgrade(alembic_config(settings.sqlalchemy_url), "head")
    S3Store(settings).prepare()
    engine = make_engine(settings.sqlalchemy_url)
    fleet = Fleet(environment, settings, engine)
    try:
        for name in ("worker-1", "worker-2", "api-1", "api-2", *SWEEPERS):
            fleet.start(name)
        wait_for(lambda: fleet.online("worker") == 2, "both workers are warm", seconds=90)
        yield fleet
    finally:
        fleet.close()
        engine.dispose()


def test_every_process_is_replaced_under_load_and_nothing_fails(fleet: Fleet, tmp_path: Path) -> None:
    def token() -> str:
        return create_access_token(user_id, secret=fleet.settings.secret_key.get_secret_value(), ttl_seconds=60)

    user_id = UUID(int=1)
    with make_sessions(fleet.engine).begin() as session:
        users.create(session, user_id, "someone@example.com")
    with Balancer(fleet) as balancer, uploading(balancer, token, encoded(), UPLOADS_PER_SECOND) as load:
        _migrate_to_the_next_version(fleet, tmp_path)
        for _ in range(ROLLING_RESTARTS):
            for name in REPLACED:
                _replace(fleet, name)
        fleet.stop("sweeper-2")  # any number of them is enough
    assert load.failures == []
    assert len(load.task_ids) >= 10
    wait_for(lambda: _count(fleet, "status IN ('queued', 'retrying', 'processing')") == 0, "all are over", seconds=600)
    assert _count(fleet, "status = 'completed' AND retries = 0") == len(load.task_ids) == _count(fleet, "true")
    assert _completions(fleet) == len(load.task_ids)
    print(f"\n{ROLLING_RESTARTS} rolling restarts: {len(load.task_ids)} uploads, 0 failed")  # noqa: T201 - the figure


def _replace(fleet: Fleet, name: str) -> None:
    """One goes, and its successor is at work before the next one goes."""
    fleet.stop(name)
    fleet.start(name)
    if name.startswith("api"):
        fleet.wait_ready(name)
    elif name.startswith("worker"):
        wait_for(lambda: fleet.online("worker") == 2, "the worker is warm")
    else:
        wait_for(lambda: fleet.online("sweeper") == len(SWEEPERS), "the sweeper is back")


def _migrate_to_the_next_version(fleet: Fleet, folder: Path) -> None:
    """The new schema comes first, under the old code."""
    migration_after(folder, Schema.of_this_code().head)
    config = alembic_config(fleet.settings.sqlalchemy_url)
    own = Path(config.get_main_option("script_location") or "") / "versions"
    config.set_main_option("version_locations", f"{own}{os.pathsep}{folder}")
    command.upgrade(config, "next")
    assert fleet.is_ready("api-1")


def _count(fleet: Fleet, condition: str) -> int:
    with fleet.engine.connect() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM tasks WHERE {condition}").scalar_one())  # noqa: S608


def _completions(fleet: Fleet) -> int:
    with fleet.engine.connect() as connection:
        sql = "SELECT count(*) FROM task_events WHERE status = 'completed' AND from_status <> 'completed'"
        return int(connection.exec_driver_sql(sql).scalar_one())
