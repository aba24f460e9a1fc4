"""Several machines' worth of processes on one set of services, and a load balancer's view of them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import httpx2
from sqlalchemy import Engine

from app.core.config import PROJECT_ROOT, Settings
from app.embedded.ports import choose
from app.embedded.service import dies_with_parent
from tests.e2e.conftest import COMMANDS, STOP
from tests.embedded_services import wait_for


@dataclass
class Fleet:
    """Any number of APIs, workers and sweepers, by names like `api-1`."""

    environment: dict[str, str]
    settings: Settings
    engine: Engine
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def start(self, name: str) -> None:
        kind = name.partition("-")[0]
        command = COMMANDS[kind]
        if kind == "api":
            command = (*command, "--port", str(self.ports.setdefault(name, choose(self.ports.values()))))
        with (self.settings.log_dir / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*dies_with_parent(), sys.executable, "-m", *command],
                env=os.environ | self.environment,
                cwd=PROJECT_ROOT / "backend",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self, name: str) -> None:
        """As an orchestrator does; it has ended in good time when this returns."""
        process = self.processes.pop(name)
        process.send_signal(STOP[name.partition("-")[0]])
        assert process.wait(timeout=40) in {0, -signal.SIGTERM}, name

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def is_ready(self, name: str) -> bool:
        try:
            return httpx2.get(f"{self.url(name)}/readyz", timeout=2).status_code == 200
        except httpx2.TransportError:
            return False

    def wait_ready(self, name: str) -> None:
        wait_for(lambda: self.is_ready(name), f"{name} is ready")

    def online(self, kind: str) -> int:
        """How many of a kind of process show signs of life."""
        with self.engine.connect() as connection:
            sql = "SELECT count(*) FROM worker_heartbeats WHERE kind = %s AND beat_at > now() - interval '20 s'"
            return int(connection.exec_driver_sql(sql, (kind,)).scalar_one())


class Balancer:
    """Asks every API whether it is ready, ten times a second, and sends each request to one that said so."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._ready: list[str] = []
        self._next = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Balancer":
        self._thread.start()
        wait_for(lambda: bool(self._ready), "an API is ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(0.1):
            self._ready = [name for name in self._fleet.ports if self._fleet.is_ready(name)]

    def pick(self) -> str:
        """The address of the next one in turn."""
        ready = self._ready
        self._next += 1
        return self._fleet.url(ready[self._next % len(ready)])


@dataclass
class Load:
    """What uploads came to: the ids of their tasks, and what went wrong."""

    task_ids: list[UUID] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextmanager
def uploading(balancer: Balancer, token: Callable[[], str], data: bytes, rate: float) -> Iterator[Load]:
    """`rate` uploads a second, each over a connection of its own and without a second try."""
    load, stopped = Load(), threading.Event()

    def send() -> None:
        try:
            answer = httpx2.post(
                f"{balancer.pick()}/api/v1/uploads",
                files={"file": ("photo.jpg", data)},
                headers={"Authorization": f"Bearer {token()}"},
                timeout=30,
            )
        except httpx2.HTTPError as error:
            load.failures.append(repr(error))
            return
        if answer.status_code == 202:
            load.task_ids.append(UUID(answer.json()["task_id"]))
        else:
            load.failures.append(answer.text)

    def run() -> None:
        begun, number = time.monotonic(), 0
        senders = []
        while not stopped.wait(max(0.0, begun + number / rate - time.monotonic())):
            number += 1
            senders.append(threading.Thread(target=send))
            senders[-1].start()
        for sender in senders:
            sender.join()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield load
    finally:
        stopped.set()
        thread.join()


def migration_after(folder: Path, revision: str) -> None:
    """A migration as the next version may bring it: it only adds what the present one does not miss."""
    (folder / "next.py").write_text(
        f"""
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "next", {revision!r}, None, None

def upgrade():
    op.add_column("tasks", sa.Column("colour", sa.Text(), server_default="none", nullable=False))
    op.create_table("colours", sa.Column("id", sa.Integer(), primary_key=True))
"""
    )
