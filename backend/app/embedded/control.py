"""Starting and stopping the whole stack of a data folder, step by step."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any

from app.embedded import locks, ports, seaweedfs, upgrade
from app.embedded.given import external, given, variable_of
from app.embedded.layout import EmbeddedError, Layout
from app.embedded.programs import APPLICATION, PROGRAMS, STORES, Program
from app.embedded.provisioning import is_provisioned, provision
from app.embedded.service import Service
from app.embedded.stack import service, services
from app.embedded.state import DEFAULT_API_PORT, State, load, load_or_create, with_usable_ports
from app.embedded.supervisor import Supervisor, spawn

Step = Callable[[str], None]
"""Told what begins now, in a few words."""

_POLL = 0.2
_START_SECONDS = 60.0
_RECOVERY_SECONDS = 900.0  # for one that runs but is not ready: Postgres may be recovering from a crash
_STOP_SECONDS = 120.0
_EARLIER_SECONDS = 5.0  # what a killed run leaves dies within seconds
_HEALTH_AGE = 2  # seconds that an answer of /health may be old
_NEEDED = ("database", "s3", "workers", "sweeper")


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

    def is_half_started(self) -> bool:
        """Whether its start was killed before it was through."""
        return _half(self.layout).exists()

    def stop(self) -> None:
        """Stop everything in order: the application first, the services last.

        Raises:
            EmbeddedError: it does not end.
        """
        _wait(self._has_ended, "The supervisor does not stop", _STOP_SECONDS)
        end_earlier_run(self.layout)
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
def starting(layout: Layout, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Held while somebody starts this data folder, so that two never do at once; `on_wait` is told of a wait."""
    layout.make()
    with (layout.run / "start.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
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
    state = _cleared(layout, on_step)
    state = replace(state.with_port("api", _api_port(port)), external=external(given()))
    state = with_usable_ports(layout, state)
    embedded = services(layout, state)
    with _begun(layout, state, embedded, temporary=temporary, detach=detach) as stack:
        _bring_up(stack, embedded, on_step)
    return stack


def start_stores(layout: Layout, *, on_step: Step) -> Stack:
    """Start only what keeps the data, for one command. The caller holds `starting(layout)` until it is stopped.

    Raises:
        EmbeddedError: one sentence on what does not start.
    """
    state = with_usable_ports(layout, _cleared(layout, on_step))
    stores = tuple(each for each in services(layout, state) if each.name in STORES)
    with _begun(layout, state, stores, temporary=True, detach=False) as stack:
        on_step("Starting the database and the object store")
        _launch(stack, [each.name for each in stores])
        _wait_until_ready(stack, stores)
    return stack


def _cleared(layout: Layout, on_step: Step) -> State:
    """The state of a data folder that nothing runs on any more."""
    state = load_or_create(layout)
    _wait(lambda: not Supervisor(state).is_there(), "The run before this one does not end", _STOP_SECONDS)
    on_step(upgrade.announcement(layout) or "Preparing the data folder")
    end_earlier_run(layout)
    seaweedfs.remove_sockets(state)
    return state


@contextmanager
def _begun(
    layout: Layout, state: State, embedded: Iterable[Service], *, temporary: bool, detach: bool
) -> Iterator[Stack]:
    """A supervisor that runs nothing yet; stopped when the block does not succeed."""
    for each in embedded:
        each.prepare()
    _half(layout).touch()
    stack = Stack(layout, state, spawn(layout, state, temporary=temporary, detach=detach))
    try:
        _wait_until_up(stack, "supervisord", stack.supervisor.is_running)
        yield stack
        _half(layout).unlink()
    except BaseException:
        stack.stop()
        raise


def _half(layout: Layout) -> Path:
    """Stands there for as long as a start is under way."""
    return layout.run / "half-started"


def _bring_up(stack: Stack, embedded: tuple[Service, ...], on_step: Step) -> None:
    names = [each.name for each in embedded]
    if is_provisioned(stack.layout, stack.state):
        # Nothing to wait for: each part waits for the others by itself.
        on_step("Starting everything")
        _launch(stack, [*names, *APPLICATION])
    else:
        on_step("Starting the services")
        _launch(stack, names)
        for each in embedded:
            _wait_until_up(stack, each.name, each.reachable)
        on_step("Bringing the database up to date")
        provision(stack.layout, stack.state)
        on_step("Starting the worker and the API")
        _launch(stack, APPLICATION)
    _wait_until_ready(stack, embedded)
    _wait_until_up(stack, "api", lambda: _answers(stack.state.api_port, "/readyz"))
    _wait_until_up(stack, "worker", lambda: _works(stack))


def _wait_until_ready(stack: Stack, embedded: Iterable[Service]) -> None:
    for each in embedded:
        _wait_until_up(stack, each.name, each.ready)
        each.configure()


def _launch(stack: Stack, names: Iterable[str]) -> None:
    for name in names:
        stack.supervisor.start(name)


def restart(stack: Stack, name: str) -> None:
    """Stop one program in its own way, start it again, and return when it does its work.

    Raises:
        EmbeddedError: it does not come back.
    """
    if name in stack.state.external:
        raise EmbeddedError(f"{variable_of(name)} is set: that server is your own, and is not restarted from here.")
    try:
        stack.supervisor.stop(name)
    finally:  # also when we are told to end meanwhile
        _wait(lambda: stack.supervisor.state(name) != "STOPPING", f"{name} does not stop", _STOP_SECONDS)
        stack.supervisor.start(name)
    if name in APPLICATION:
        _wait_until_up(stack, name, lambda: stack.supervisor.uptime(name) > _HEALTH_AGE and _works(stack))
        return
    _wait_until_ready(stack, [service(stack.layout, stack.state, name)])


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


def _works(stack: Stack) -> bool:
    """Pictures are taken in and done. What else is not well, `status` tells."""
    health = stack.health()
    return health is not None and all(health["checks"].get(name) == "ok" for name in _NEEDED)


def require_free(port: int) -> None:
    """Raises EmbeddedError when somebody listens on the port that was asked for."""
    if not ports.is_free(port):
        raise EmbeddedError(f"Port {port} is taken by another program: choose another --port.")


def _api_port(wanted: int | None) -> int:
    if wanted is not None:
        require_free(wanted)
        return wanted
    return next(port for port in range(DEFAULT_API_PORT, 2**16) if ports.is_free(port))


def end_earlier_run(layout: Layout) -> None:
    """Return when no process of an earlier run lives, the application's first.

    One that was killed hard takes its children along within seconds; where the system cannot do that, they are stopped.
    """
    for each in reversed(PROGRAMS):
        complaint = f"{each.title} of an earlier run still lives, on {layout.data}"
        _wait(_Ending(layout, each).is_over, complaint, _EARLIER_SECONDS + each.stop_wait + _EARLIER_SECONDS)


class _Ending:
    """Watches a process of an earlier run end: by itself, then as it is stopped, then killed."""

    def __init__(self, layout: Layout, program: Program) -> None:
        self._layout, self._program = layout, program
        signals = (program.stop_signal, signal.SIGKILL)
        begun = time.monotonic() + _EARLIER_SECONDS
        self._plan = list(zip((begun, begun + program.stop_wait), signals, strict=True))

    def is_over(self) -> bool:
        if not locks.is_held(self._layout, self._program.name):
            return True
        if self._plan and time.monotonic() > self._plan[0][0]:
            _, number = self._plan.pop(0)
            for process in locks.holders(self._layout, self._program.name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
        return False


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
