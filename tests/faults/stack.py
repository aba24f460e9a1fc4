"""The whole service with everything it leans on, and a handle on each part to break it by."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx2
import redis
from alembic import command
from sqlalchemy import Engine, text

from app.core.config import PROJECT_ROOT, Settings
from app.core.security import create_access_token
from app.db import users
from app.db.base import Sessions, make_engine, make_sessions
from app.db.migrations import alembic_config
from app.embedded.ports import choose
from app.embedded.service import dies_with_parent
from app.storage.base import PREFIXES
from app.storage.s3 import S3Store
from tests.conftest import empty, make_environment, make_settings
from tests.e2e.conftest import COMMANDS, STOP
from tests.embedded_services import RunningServices, start_services, wait_for
from tests.faults.proxy import Proxies
from tests.imaging.networks import network

PROCESSES = ("api", "worker", "sweeper")
SERVICES = {"postgres": "DATABASE_URL", "valkey": "REDIS_URL", "s3": "S3_ENDPOINT_URL"}
STUB_SECONDS = "0.1"
AWAY = 3.0  # seconds until what has died is started anew
FAULTY = {  # so that a `failed` row is a finding, and not bad luck
    "LEASE_SECONDS": "10",
    "TASK_RETRY_DELAY_SECONDS": "1",
    "TASK_MAX_RETRIES": "10",
    "ORPHAN_GRACE_SECONDS": "0",
    "CLEANUP_ENABLED": "false",
}


@dataclass
class Stack:
    """Processes by names like `api` and `worker-2`, services behind their proxies.

    `settings`, `engine`, `sessions` and `store` go around the proxies: they are for those who look on. A process that
    dies, by whatever hand, is started anew after `away` seconds, as a supervisor does.
    """

    services: RunningServices
    proxies: Proxies
    environment: dict[str, str]
    settings: Settings
    engine: Engine
    store: S3Store
    away: float = AWAY
    own: dict[str, dict[str, str]] = field(default_factory=dict)  # more environment, by the name of the process
    ports: dict[str, int] = field(default_factory=dict)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def sessions(self) -> Sessions:
        return make_sessions(self.engine)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['api']}"

    def log(self, name: str) -> Path:
        return self.settings.log_dir / f"{name}.log"

    # ---- processes of ours

    def start(self, name: str) -> None:
        kind = name.partition("-")[0]
        arguments = COMMANDS[kind]
        if kind == "api":
            arguments = (*arguments, "--port", str(self.ports.setdefault(name, choose(self.ports.values()))))
        with self._lock, self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*dies_with_parent(signal.SIGKILL), sys.executable, "-m", *arguments],
                env=os.environ | self.environment | self.own.get(name, {}),
                cwd=PROJECT_ROOT / "backend",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def up(self) -> None:
        """One of each, ready for work."""
        for name in PROCESSES:
            if name not in self._running:
                self.start(name)
        self.wait_ready()

    def wait_ready(self) -> None:
        wait_for(self.is_ready, "the service is ready", seconds=90, every=0.1)

    def is_ready(self) -> bool:
        """The API says so, a worker is warm and a sweeper ticks."""
        kinds = "SELECT count(DISTINCT kind) FROM worker_heartbeats WHERE beat_at > now() - interval '3 s'"
        with suppress(httpx2.TransportError), self.engine.connect() as connection:
            both = connection.execute(text(kinds)).scalar_one() == 2
            return both and httpx2.get(f"{self.url}/readyz", timeout=2).status_code == 200
        return False

    def pid(self, name: str) -> int:
        with self._lock:
            return self._running[name].pid

    def children(self, name: str = "worker") -> list[int]:
        """The processes of a worker that do the work."""
        return _children(self.pid(name))

    def kill(self, name: str) -> None:
        """SIGKILL. It is started anew after a moment."""
        _signal(self.pid(name), signal.SIGKILL)

    def stop(self, name: str) -> None:
        """As an orchestrator does, for good."""
        with self._lock:
            process = self._running.pop(name)
        _signal(process.pid, signal.SIGCONT)
        process.send_signal(STOP[name.partition("-")[0]])
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def down(self) -> None:
        """Nothing of ours runs any more."""
        for name in sorted(self._running, reverse=True):
            self.stop(name)
        for pid in _with_environment(f"LOG_DIR={self.settings.log_dir}"):
            _signal(pid, signal.SIGKILL)  # a child that has outlived its worker

    def tend(self) -> None:
        """Start anew what has died, until the end."""
        dead: dict[int, float] = {}  # since when
        while not self._over.wait(0.05):
            with self._lock:
                for name, process in list(self._running.items()):
                    if process.poll() is not None and time.monotonic() >= dead.setdefault(
                        process.pid, time.monotonic() + self.away
                    ):
                        self.start(name)

    def close(self) -> None:
        self.down()
        self._over.set()  # not before: what the keeper has started dies with the keeper
        self.engine.dispose()

    # ---- what it leans on

    def service_pid(self, name: str) -> int:
        return self.services.processes[name].pid

    def kill_service(self, name: str) -> None:
        self.services.kill(name)

    def revive_service(self, name: str) -> None:
        if name not in self.services.processes:
            self.services.start(name)

    def restart_postgres(self) -> None:
        """As `pg_ctl restart -m immediate` does: no good-byes, and recovery from the log."""
        process = self.services.processes.pop("postgres")
        process.send_signal(signal.SIGQUIT)
        process.wait()
        self.services.start("postgres")

    def flush(self) -> None:
        """Everything that Valkey knows is gone."""
        with redis.Redis.from_url(self.services.env["REDIS_URL"]) as broker:
            broker.flushall()

    # ---- accounts and time

    def account(self) -> tuple[UUID, str]:
        """A new account, and a token of it."""
        user_id = uuid4()
        with self.sessions.begin() as session:
            users.create(session, user_id, f"{user_id}@example.com")
        secret = self.settings.secret_key.get_secret_value()
        return user_id, create_access_token(user_id, secret=secret, ttl_seconds=86_400)

    def age_locks(self) -> None:
        """As if a minute had passed for requests that hold an Idempotency-Key and are dead."""
        self._change("UPDATE idempotency_keys SET locked_at = locked_at - interval '61 s' WHERE answer IS NULL")

    def age_leftovers(self) -> None:
        """As if an hour had passed for what requests and attempts that came to nothing have left."""
        self._change("UPDATE uploads SET created_at = created_at - interval '1 h' WHERE status = 'pending'")
        self._change("UPDATE tasks SET started_at = started_at - interval '1 h' WHERE finished_at IS NOT NULL")
        self._change("UPDATE mattes SET created_at = created_at - interval '1 h' WHERE stored_at IS NULL")

    def forget(self) -> None:
        """All rows go. Nothing of ours may be running."""
        for prefix in PREFIXES:
            for stored in self.store.list(prefix):
                self.store.delete(stored.key)
        empty(self.engine)

    def _change(self, sql: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(sql))


@contextmanager
def stack(
    folder: Path,
    *,
    real: bool = False,
    through: Collection[str] = frozenset(SERVICES),
    away: float = AWAY,
    **settings: str,
) -> Iterator[Stack]:
    """Services with a fresh database in this folder, and nothing of ours started yet.

    `real`: the real weights; otherwise a network that takes no time, and a tenth of a second of sleep for it.
    `through`: the services that are reached by way of their proxies, which take a part of the machine.
    """
    with start_services(folder / "data") as services, Proxies(_upstreams(services)) as proxies:
        logs = folder / "logs"
        logs.mkdir()
        plain = make_environment(services, "faults_test", logs) | FAULTY
        if not real:
            model = folder / "small.onnx"
            model.write_bytes(network())
            plain |= {"MODEL_PATH": str(model), "FAILPOINTS": f"inferring=sleep:{STUB_SECONDS}"}
        plain |= settings
        made = make_settings(plain)
        command.upgrade(alembic_config(made.sqlalchemy_url), "head")
        store = S3Store(made)
        store.prepare()
        environment = plain | _through(plain, services, proxies, through)
        running = Stack(services, proxies, environment, made, make_engine(made.sqlalchemy_url), store, away)
        keeper = threading.Thread(target=running.tend, name="keeper", daemon=True)
        keeper.start()
        try:
            yield running
        finally:
            proxies.heal()
            running.close()
            keeper.join()


def _upstreams(services: RunningServices) -> Mapping[str, int]:
    return {name: int(urlsplit(services.env[variable]).port or 0) for name, variable in SERVICES.items()}


def _through(
    direct: Mapping[str, str], services: RunningServices, proxies: Proxies, names: Collection[str]
) -> dict[str, str]:
    """The same addresses, by way of the proxies."""
    ports = _upstreams(services)
    return {
        variable: direct[variable].replace(f":{ports[name]}", f":{proxies.ports[name]}")
        for name, variable in SERVICES.items()
        if name in names
    }


def _children(pid: int) -> list[int]:
    """Those of its child processes that do its work, the oldest first; the helper for semaphores is none of them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if _parent(process) == pid and b"spawn_main" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return sorted(found)


def _parent(process: Path) -> int:
    # The name of the program stands in brackets, and may hold anything.
    return int((process / "stat").read_text().rpartition(")")[2].split()[1])


def _with_environment(variable: str) -> list[int]:
    """Those of this machine's processes that were started with it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
