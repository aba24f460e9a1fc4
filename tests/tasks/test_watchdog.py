"""A worker that has gone deaf, told from one that is busy, idle, or cut off."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from alembic import command
from sqlalchemy.exc import OperationalError

from app.core.config import PROJECT_ROOT
from app.db import dispatch
from app.db.base import make_engine, make_sessions
from app.db.migrations import alembic_config
from app.embedded.service import dies_with_parent
from app.tasks.publishing import Publisher
from app.tasks.watchdog import LOOKS, Watchdog
from tests.conftest import make_environment, make_settings, make_user
from tests.e2e.conftest import small_model
from tests.embedded_services import RunningServices, wait_for
from tests.factories import TIMING, make_task

__all__ = ["small_model"]

OVERDUE = LOOKS * TIMING.redispatch_after


@dataclass(frozen=True)
class World:
    """What a look finds. None: it does not answer."""

    received: int = 0
    room: bool = True
    ready: int | None = 1
    oldest: float | None = OVERDUE + 1
    database: bool = True


DEAF = World()


def looks(*worlds: World) -> list[bool]:
    """What one watchdog says as it finds these, one after the other."""
    now = [DEAF]

    def ready() -> int:
        if now[0].ready is None:
            raise ConnectionError("no broker")
        return now[0].ready

    def oldest() -> float | None:
        if not now[0].database:
            raise OperationalError("select", None, psycopg.OperationalError("no database"))
        return now[0].oldest

    dog = Watchdog(TIMING, lambda: now[0].received, lambda: now[0].room, ready, oldest)
    said = []
    for now[0] in worlds:
        said.append(dog.look())
    return said


def test_a_minute_of_missed_messages_is_deafness() -> None:
    assert OVERDUE == 60
    assert looks(*[DEAF] * LOOKS) == [False] * (LOOKS - 1) + [True]


@pytest.mark.parametrize(
    "excuse",
    [
        World(received=1),
        World(room=False),
        World(ready=0),
        World(ready=None),
        World(oldest=None),
        World(oldest=OVERDUE - 1),
        World(database=False),
    ],
)
def test_one_look_that_explains_it_begins_the_count_anew(excuse: World) -> None:
    heard = [replace(each, received=excuse.received) for each in [DEAF] * LOOKS]
    said = looks(*[DEAF] * (LOOKS - 1), excuse, *heard)
    assert said == [False] * (2 * LOOKS - 1) + [True]


def test_a_worker_that_keeps_receiving_is_never_deaf() -> None:
    assert not any(looks(*[World(received=n) for n in range(3 * LOOKS)][1:]))


@pytest.mark.xdist_group("faults")
def test_a_deaf_worker_ends_and_takes_its_children_along(
    services: RunningServices, small_model: str, tmp_path: Path
) -> None:
    environment = make_environment(services, "deaf_test", tmp_path) | {
        "MODEL_PATH": small_model,
        "WORKER_CONCURRENCY": "1",
        "LEASE_SECONDS": "5",
    }
    environment["REDIS_URL"] = environment["REDIS_URL"].removesuffix("/0") + "/8"
    settings = make_settings(environment)
    command.upgrade(alembic_config(settings.sqlalchemy_url), "head")
    engine = make_engine(settings.sqlalchemy_url)
    sessions = make_sessions(engine)
    task_id = make_task(sessions, make_user(sessions).id, age=3600)
    with sessions.begin() as session:
        assert dispatch.stamp_new(session, task_id)
    publisher = Publisher(settings)
    publisher.publish(task_id, "interactive")
    command_line = ["celery", "-A", "tests.tasks.deaf", "worker", "--without-gossip", "--without-mingle"]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [*dies_with_parent(), sys.executable, "-m", *command_line],
            cwd=PROJECT_ROOT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: bool(children(process.pid)), "it has a child", seconds=30)
        held = children(process.pid)
        assert process.wait(timeout=60) == 70
    finally:
        process.kill()
        process.wait()
        publisher.close()
        engine.dispose()
    said = (tmp_path / "worker.log").read_text()
    assert said.count("worker_deaf") == 1
    assert "received" not in said
    wait_for(lambda: not any(Path(f"/proc/{each}").exists() for each in held), "its children have ended", seconds=10)


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in found if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]
