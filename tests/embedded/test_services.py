"""The three services, really started: data survives, and nothing of the machine's oddities matters."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from app.embedded import control, locks
from app.embedded.layout import EmbeddedError, Layout
from app.embedded.ports import is_free, stale_sockets
from app.embedded.programs import Program
from tests.embedded_services import RunningServices, start_services, wait_for

# Each of these characters means something to a shell, to an ini file or to a % format.
ODD_NAME = "Bil der; #1 %s 'ü"
HOLD = """
import os, sys
from pathlib import Path
from app.embedded import locks
from app.embedded.layout import Layout
locks.hold(Layout.at(Path(sys.argv[1])), "postgres")
os.execvp("sleep", ["sleep", "600"])
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServices]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANG", "xx_XX.nonsense")
        patch.setenv("LC_ALL", "xx_XX.nonsense")
        patch.setenv("PGDATA", "/nonexistent")
        with start_services(tmp_path_factory.mktemp("data") / ODD_NAME) as services:
            yield services


def query(running: RunningServices, statement: str) -> object:
    with psycopg.connect(running.env["DATABASE_URL"], autocommit=True) as connection:
        cursor = connection.execute(statement)  # a literal of these tests
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def test_the_database_speaks_utf8_whatever_the_machine_does(running: RunningServices) -> None:
    assert query(running, "SHOW server_encoding") == "UTF8"
    assert query(running, "SELECT upper('ü')") == "Ü"


def test_a_killed_postgres_comes_back_with_what_was_committed(running: RunningServices) -> None:
    query(running, "CREATE TABLE kept (n int)")
    query(running, "INSERT INTO kept VALUES (42)")

    running.kill("postgres")
    running.start("postgres")

    assert query(running, "SELECT n FROM kept") == 42


def test_a_killed_valkey_comes_back_with_its_keys(running: RunningServices) -> None:
    client = redis.Redis.from_url(running.env["REDIS_URL"])
    client.set("kept", "42")
    client.close()

    running.kill("valkey")
    running.start("valkey")

    client = redis.Redis.from_url(running.env["REDIS_URL"])
    assert client.get("kept") == b"42"
    client.close()


def test_a_wrong_password_is_refused(running: RunningServices) -> None:
    database = running.env["DATABASE_URL"].replace(running.state.postgres_password, "wrong")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(database)
    broker = redis.Redis.from_url(running.env["REDIS_URL"].replace(running.state.valkey_password, "wrong"))
    with pytest.raises(redis.AuthenticationError):
        broker.ping()
    broker.close()


def test_no_secret_is_on_a_command_line_or_readable_by_others(running: RunningServices) -> None:
    state = running.state
    secrets = (state.postgres_password, state.valkey_password, state.s3_secret_key, *state.s3_jwt_keys)
    for service in running.services.values():
        assert not any(secret in argument for secret in secrets for argument in service.argv)
    layout = running.layout
    for path in (layout.state, layout.valkey / "valkey.conf", layout.s3 / "s3.json"):
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert layout.data.stat().st_mode & 0o007 == 0


def test_a_service_dies_with_its_parent(running: RunningServices) -> None:
    """A parent that is killed hard cannot stop its children: the kernel does."""
    service = running.services["valkey"]
    running.stop("valkey")
    script = "import signal, subprocess, sys; subprocess.Popen(sys.argv[1:]); signal.pause()"
    parent = subprocess.Popen([sys.executable, "-c", script, *service.argv], env=dict(service.env), cwd=service.cwd)
    wait_for(service.ready, "valkey is ready")
    parent.kill()
    parent.wait()

    wait_for(lambda: is_free(running.ports["valkey"]), "valkey is gone")
    running.start("valkey")


def test_a_closed_folder_of_sockets_is_told(running: RunningServices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.embedded.seaweedfs.SOCKETS", Path("/nonexistent"))
    with pytest.raises(EmbeddedError, match="keeps its sockets in /nonexistent"):
        running.services["seaweedfs"].prepare()


def test_stopping_takes_the_socket_files_away(running: RunningServices) -> None:
    running.restart("seaweedfs")
    running.stop("seaweedfs")
    assert not any(stale_sockets(port) for port in running.ports.values())
    running.start("seaweedfs")


@pytest.mark.parametrize("ignores", ["", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"])
def test_what_a_killed_run_has_left_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignores: str) -> None:
    """Where the system does not end it with its parent."""
    monkeypatch.setattr(control, "_EARLIER_SECONDS", 1.5)
    monkeypatch.setattr(control, "PROGRAMS", (Program("postgres", "Postgres", 1, stop_wait=1),))
    layout = Layout.at(tmp_path / "data")
    layout.make()
    left = subprocess.Popen([sys.executable, "-c", ignores + HOLD, str(layout.data)])
    wait_for(lambda: locks.holders(layout, "postgres") == [left.pid], "the lock is held")
    control.end_earlier_run(layout)
    assert left.wait() == (-signal.SIGKILL if ignores else -signal.SIGTERM)
    assert locks.holders(layout, "postgres") == []


def test_a_lock_is_held_by_the_process_that_took_its_place_and_free_when_that_is_killed(tmp_path: Path) -> None:
    layout = Layout.at(tmp_path / "data")
    layout.make()
    assert not locks.is_held(layout, "postgres")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(layout.data)])
    wait_for(lambda: locks.is_held(layout, "postgres"), "the lock is held")
    holder.kill()
    holder.wait()
    assert not locks.is_held(layout, "postgres")
