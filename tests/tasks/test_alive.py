"""The probe of the containers, as a process on the real database."""

import os
import socket
import subprocess
import sys

import pytest
from sqlalchemy import update

from app.core.config import PROJECT_ROOT
from app.db import heartbeats
from app.db.base import Sessions
from app.db.models import WorkerHeartbeat
from tests.factories import ago

HOST = socket.gethostname()


def probe(environment: dict[str, str], kind: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.tasks.alive", kind],
        cwd=PROJECT_ROOT / "backend",
        env=os.environ | environment | changes,
        text=True,
        capture_output=True,
        check=False,
    )


def beat(sessions: Sessions, process: str, kind: str) -> None:
    with sessions.begin() as session:
        heartbeats.beat(session, process, kind)


@pytest.mark.parametrize("kind", ["worker", "sweeper"])
def test_a_process_of_this_host_that_beats_is_alive(kind: str, sessions: Sessions, environment: dict[str, str]) -> None:
    beat(sessions, f"{HOST}:17", kind)
    done = probe(environment, kind)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_others_do_not_count(sessions: Sessions, environment: dict[str, str]) -> None:
    beat(sessions, f"{HOST}:17", "sweeper")
    beat(sessions, f"{HOST}-2:17", "worker")
    beat(sessions, f"{'_' * len(HOST)}:17", "worker")
    beat(sessions, f"{HOST}:18", "worker")
    with sessions.begin() as session:  # one that was killed
        session.execute(update(WorkerHeartbeat).where(WorkerHeartbeat.id == f"{HOST}:18").values(beat_at=ago(60)))
    done = probe(environment, "worker")
    assert done.returncode == 1
    assert done.stderr == f"quickbg: No worker of {HOST} has given a sign of life for 20 seconds.\n"


def test_a_database_that_is_away_is_one_line(environment: dict[str, str]) -> None:
    done = probe(environment, "worker", DATABASE_URL="postgresql://nobody:nothing@127.0.0.1:1/none")
    assert done.returncode == 1
    assert done.stderr == "quickbg: The database does not answer (OperationalError).\n"
