"""Starting and stopping the whole stack of a data folder, step by step."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import IO, Any

from app.embedded import locks, ports, seaweedfs
from app.embedded.layout import PROJECT_ROOT, EmbeddedError, Layout
from app.embedded.programs import APPLICATION, SERVICES
from app.embedded.service import Service
from app.embedded.stack import services, settings_environment
from app.embedded.state import DEFAULT_API_PORT, State, load, load_or_create, with_usable_ports
from app.embedded.supervisor import Supervisor, spawn

Step = Callable[[str], None]
"""Told what begins now, in a few words."""

_POLL = 0.1
_START_SECONDS = 60.0
_RECOVERY_SECONDS = 900.0  # for one that runs but is not ready: Postgres may be recovering from a crash
_STOP_SECONDS = 120.0
_EARLIER_SECONDS = 20.0  # what a killed run leaves dies within seconds


@dataclass(frozen=True)
class Stack:
    """A data folder whose supervisor runs. `process` is the supervisor when it was started here."""

    layout: Layout
    state: State
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://{ports.HOST}:{self.state.api_port}"

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.state)

    def stop(self) -> None:
        """Stop everything in order: the application first, the services last.

        Raises:
            EmbeddedError: it does not end.
        """
        _wait(self._has_ended, "The supervisor does not stop", _STOP_SECONDS)
        _wait_for_earlier_run(self.layout)
        seaweedfs.remove_sockets(self.state)

    def _has_ended(self) -> bool:
        """Asks it to end each time: one that has just been started does not listen yet."""
        with contextlib.suppress(EmbeddedError):  # already on its way, or gone
            self.supervisor.shutdown()
        if self.process is not None:
            return self.process.poll() is not None
        return not self.supervisor.is_there()

    def health(self) -> dict[str, Any] | None:
        """What `GET /health` says, or None when the API does not answer."""
        answer = _get(self.state.api_port, "/health")
        with contextlib.suppress(ValueError):
            return dict(json.loads(answer[1])) if answer else None
        return None


def find(layout: Layout) -> Stack | None:
    """The running stack of a data folder, or None."""
    state = load(layout)
    if state is None or not Supervisor(state).is_running():
        return None
    return Stack(layout, state)


def stop(layout: Layout) -> bool:
    """Stop what runs, and clear away what a killed run has left. Returns whether anything ran."""
    state = load(layout)
    if state is None:
        return False
    ran = Supervisor(state).is_there()
    Stack(layout, state).stop()
    return ran


@contextmanager
def starting(layout: Layout) -> Iterator[None]:
    """Held while somebody starts this data folder, so that two never do at once."""
    layout.make()
    with (layout.run / "start.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def together(layout: Layout) -> Iterator[Callable[[], None]]:
    """Held by everybody who uses a borrowed service; what is yielded waits until nobody else does."""
    with _use_lock(layout) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield lambda: fcntl.flock(file, fcntl.LOCK_EX)


@contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Entered once nobody uses a borrowed service."""
    with _use_lock(layout) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _use_lock(layout: Layout) -> IO[str]:
    return (layout.run / "use.lock").open("w")


def start(layout: Layout, *, port: int | None, on_step: Step, temporary: bool = False, detach: bool = False) -> Stack:
    """Start everything and return when it is healthy. The caller holds `starting(layout)`; nothing runs yet.

    Args:
        port: of the API; None takes 8000, or the next free one.
        on_step: told of each step as it begins.
        temporary: others shall see that it lives for one command only.
        detach: let it outlive this process.

    Raises:
        EmbeddedError: one sentence on what does not start.
    """
    state = load_or_create(layout)
    _wait(lambda: not Supervisor(state).is_there(), "The run before this one does not end", _STOP_SECONDS)
    _wait_for_earlier_run(layout)
    seaweedfs.remove_sockets(state)
    state = with_usable_ports(layout, state.with_port("api", _api_port(port)))
    on_step("Preparing the data folder")
    embedded = services(layout, state)
    for service in embedded:
        service.prepare()
    stack = Stack(layout, state, spawn(layout, state, temporary=temporary, detach=detach))
    try:
        _bring_up(stack, embedded, on_step)
    except BaseException:
        stack.stop()
        raise
    return stack


def _bring_up(stack: Stack, embedded: tuple[Service, ...], on_step: Step) -> None:
    on_step("Starting Postgres, Valkey and SeaweedFS")
    _wait_until_up(stack, "supervisord", stack.supervisor.is_running)
    for service in embedded:
        stack.supervisor.start(service.name)
    for service in embedded:
        _wait_until_up(stack, service.name, service.reachable)
    on_step("Bringing the database up to date")
    _provision(stack)
    on_step("Starting the worker and the API")
    for name in APPLICATION:
        stack.supervisor.start(name)
    for service in embedded:
        _wait_until_up(stack, service.name, service.ready)
        service.configure()
    _wait_until_up(stack, "api", lambda: _answers(stack.state.api_port, "/readyz"))
    _wait_until_up(stack, "worker", lambda: _is_healthy(stack))


def _wait_until_up(stack: Stack, name: str, is_up: Callable[[], bool]) -> None:
    """Patient with a program that runs on and on, not with one that keeps ending, nor with an ended supervisor."""
    begun = time.monotonic()
    complaint = f"{name} does not start; its log is {stack.layout.logs / name}.log"

    def check() -> bool:
        if stack.process is not None and stack.process.poll() is not None:
            raise EmbeddedError(f"The supervisor has ended; its log is {stack.layout.logs / 'supervisord.log'}.")
        waited = time.monotonic() - begun
        if waited > _START_SECONDS and stack.supervisor.uptime(name) < waited / 2:
            raise EmbeddedError(f"{complaint}.")
        return is_up()

    _wait(check, complaint, _RECOVERY_SECONDS)


def _provision(stack: Stack) -> None:
    """In a process of its own: its imports take a second that no other command should pay."""
    log = stack.layout.logs / "provision.log"
    with log.open("w") as file:
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "app.embedded.provision", stack.state.local_user],
            env=os.environ | settings_environment(stack.layout, stack.state),
            cwd=PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            check=False,
        )
    if done.returncode:
        said = log.read_text(errors="replace").strip().splitlines() or ["no reason given"]
        raise EmbeddedError(f"The database could not be brought up to date: {said[-1]} (more in {log})")


def _is_healthy(stack: Stack) -> bool:
    health = stack.health()
    return health is not None and health.get("status") == "healthy"


def require_free(port: int) -> None:
    """Raises EmbeddedError when somebody listens on the port that was asked for."""
    if not ports.is_free(port):
        raise EmbeddedError(f"Port {port} is taken by another program: choose another --port.")


def _api_port(wanted: int | None) -> int:
    if wanted is not None:
        require_free(wanted)
        return wanted
    return next(port for port in range(DEFAULT_API_PORT, 2**16) if ports.is_free(port))


def _wait_for_earlier_run(layout: Layout) -> None:
    """Until every service process is gone: one that was killed hard takes its children along within seconds."""
    for name in SERVICES:
        complaint = f"{name} of an earlier run still lives, on {layout.data}"
        _wait(lambda name=name: not locks.is_held(layout, name), complaint, _EARLIER_SECONDS)  # type: ignore[misc]


def _wait(condition: Callable[[], bool], complaint: str, seconds: float) -> None:
    """Poll; `complaint` is what the person reads when it stays false."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{complaint}.")
        time.sleep(_POLL)


def _answers(port: int, path: str) -> bool:
    answer = _get(port, path)
    return answer is not None and answer[0] == 200


def _get(port: int, path: str) -> tuple[int, bytes] | None:
    connection = HTTPConnection(ports.HOST, port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, HTTPException):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    return None
