"""The whole service as it runs in production: API, worker and sweeper as processes, with the real weights."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from alembic import command
from sqlalchemy import Engine

from app.core.config import PROJECT_ROOT, Settings
from app.core.security import create_access_token
from app.db import users
from app.db.base import make_engine, make_sessions
from app.db.migrations import alembic_config
from app.embedded.ports import choose
from app.embedded.service import dies_with_parent
from app.storage.s3 import S3Store
from tests.conftest import make_environment, make_settings
from tests.embedded_services import RunningServices, wait_for
from tests.imaging.networks import network

COMMANDS = {
    "api": ("app.api.server",),
    "worker": ("celery", "-A", "app.tasks.celery_app", "worker", "--without-gossip", "--without-mingle"),
    "sweeper": ("app.tasks.sweeper",),
}
STOP = {"api": signal.SIGTERM, "worker": signal.SIGQUIT, "sweeper": signal.SIGTERM}


@dataclass
class Deployment:
    """The running service and a client of it."""

    environment: dict[str, str]
    services: RunningServices
    settings: Settings
    engine: Engine
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self, name: str) -> Path:
        return self.settings.log_dir / f"{name}.log"

    def start(self, name: str) -> None:
        arguments = COMMANDS[name] + (("--port", str(self.port)) if name == "api" else ())
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*dies_with_parent(), sys.executable, "-m", *arguments],
                env=os.environ | self.environment,
                cwd=PROJECT_ROOT / "backend",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(STOP[name])
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def health(self) -> dict[str, Any]:
        try:
            body: dict[str, Any] = httpx2.get(f"{self.url}/health", timeout=5).json()
        except httpx2.HTTPError:
            return {"status": "unreachable", "checks": {}}
        return body

    def wait_healthy(self) -> None:
        wait_for(lambda: self.health()["status"] == "healthy", "the service is healthy", seconds=90)

    @contextmanager
    def account(self) -> Iterator[httpx2.Client]:
        """A client that is logged in as a new account."""
        user_id = uuid4()
        with make_sessions(self.engine).begin() as session:
            users.create(session, user_id, f"{user_id}@example.com")
        token = create_access_token(user_id, secret=self.settings.secret_key.get_secret_value(), ttl_seconds=900)
        with httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
            yield client


@pytest.fixture(scope="session")
def deployment(services: RunningServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    # A database and a broker of its own: its worker and its sweeper would take the other tests' tasks.
    environment = make_environment(services, "deployment_test", tmp_path_factory.mktemp("deployment"))
    redis_url = environment["REDIS_URL"].removesuffix("/0")
    environment |= {
        "REDIS_URL": f"{redis_url}/1",
        # For other Celery clients, whose pictures lie on this machine.
        "CELERY_RESULT_BACKEND": f"{redis_url}/4",
        "OUTBOUND_ALLOWED_NETWORKS": "127.0.0.0/8",
    }
    with deploy(environment, services) as made:
        yield made


@contextmanager
def deploy(environment: dict[str, str], services: RunningServices) -> Iterator[Deployment]:
    """The service with these settings on a fresh database, healthy."""
    settings = make_settings(environment)
    command.upgrade(alembic_config(settings.sqlalchemy_url), "head")
    S3Store(settings).prepare()
    engine = make_engine(settings.sqlalchemy_url)
    made = Deployment(environment, services, settings, engine, choose(()))
    try:
        for name in COMMANDS:
            made.start(name)
        made.wait_healthy()
        yield made
    finally:
        for name in reversed(list(made.processes)):
            made.stop(name)
        engine.dispose()


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network that takes no time, for tests of everything around it."""
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    path.write_bytes(network())
    return str(path)


def upload(client: httpx2.Client, data: bytes, **options: str) -> UUID:
    answer = client.post("/api/v1/uploads", files={"file": ("photo.jpg", data)}, data=options)
    assert answer.status_code == 202, answer.text
    return UUID(answer.json()["task_id"])


def task(client: httpx2.Client, task_id: UUID) -> dict[str, Any]:
    answer = client.get(f"/api/v1/tasks/{task_id}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def wait_done(client: httpx2.Client, *task_ids: UUID, seconds: float = 150) -> list[dict[str, Any]]:
    over = {"completed", "failed", "cancelled"}
    wait_for(
        lambda: all(task(client, task_id)["status"] in over for task_id in task_ids),
        "tasks are over",
        seconds=seconds,
        every=0.25,  # a closer look would take the cores from the worker
    )
    return [task(client, task_id) for task_id in task_ids]
