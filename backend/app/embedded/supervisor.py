"""The supervisor (supervisord): its configuration, and a client for its XML-RPC interface."""

import contextlib
import os
import shlex
import subprocess
import sys

# Both ends are ours, on loopback, behind a password.
import xmlrpc.client  # nosec B411
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from xml.parsers.expat import ExpatError

from app.embedded.layout import EmbeddedError, Layout, write_private
from app.embedded.ports import HOST
from app.embedded.programs import Program, programs
from app.embedded.service import dies_with_parent
from app.embedded.state import State

_USER = "quickbg"
_LASTING, _TEMPORARY = "quickbg", "quickbg-temporary"
_STOP_SECONDS = 60.0  # longer than any program is given to stop

# No path stands in this file, where a %, a " ;" or a " #" would mean something: it works in the folder of the logs,
# and the one command comes out of the environment.
_HEAD = """\
[supervisord]
nodaemon=true
silent=true
umask=077
identifier={identifier}
logfile=supervisord.log
logfile_maxbytes=10MB
logfile_backups=3
pidfile=%(here)s/supervisord.pid
{user}
[inet_http_server]
port={host}:{port}
username={username}
password={password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

# Nothing starts by itself: there is an order, and its own start would come a second late.
# It waits one second longer before each further try, and never gives up: an outage may last.
_PROGRAM = """
[program:{name}]
command=%(ENV_QUICKBG_LAUNCH)s {name}
priority={priority}
autostart=false
autorestart=true
startretries=1000000
stopsignal={stopsignal}
stopwaitsecs={stopwaitsecs}
killasgroup={killasgroup}
redirect_stderr=true
stdout_logfile={name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""

# See `embedded.room`.
_ROOM = """
[eventlistener:room]
command=%(ENV_QUICKBG_LAUNCH)s room
events=TICK_5
stdout_logfile=NONE
stderr_logfile=room.log
"""


@dataclass(frozen=True)
class ProcessInfo:
    """One process as the supervisor sees it. `state` is its word: RUNNING, BACKOFF, STOPPED, …"""

    name: str
    state: str
    pid: int
    uptime: int  # seconds


def config_text(state: State, *, temporary: bool) -> str:
    """The configuration file. It holds a password: for this user's eyes only."""
    head = _HEAD.format(
        identifier=_TEMPORARY if temporary else _LASTING,
        user="user=root\n" if os.geteuid() == 0 else "",  # it warns of root unless it is told so
        host=HOST,
        port=state.ports["supervisor"],
        username=_USER,
        password=state.supervisor_password,
    )
    names = [program.name for program in programs(state)]
    return head + "".join(map(_program_text, programs(state))) + (_ROOM if "seaweedfs" in names else "")


def _program_text(program: Program) -> str:
    return _PROGRAM.format(
        name=program.name,
        priority=program.priority,
        stopsignal=program.stop_signal.name.removeprefix("SIG"),
        stopwaitsecs=program.stop_wait,
        killasgroup=str(program.with_group).lower(),
    )


def spawn(layout: Layout, state: State, *, temporary: bool, detach: bool) -> subprocess.Popen[bytes]:
    """Start supervisord, which by itself starts nothing. Unless detached, all of it ends when this process dies."""
    config = layout.run / "supervisord.conf"
    write_private(config, config_text(state, temporary=temporary))
    launcher = shlex.join([sys.executable, "-m", "app.embedded.launch", str(layout.data)])
    prefix = () if detach else dies_with_parent()
    return subprocess.Popen(  # noqa: S603 - our own command
        [*prefix, sys.executable, "-m", "supervisor.supervisord", "-c", str(config)],
        env=os.environ | {"QUICKBG_LAUNCH": launcher},
        cwd=layout.logs,
        start_new_session=True,  # Ctrl-C in the terminal reaches us alone, and we stop it in order
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # Where it complains of a log that it cannot write. On a full disk a file would fail it as well, and end it.
        stderr=subprocess.DEVNULL,
    )


class _Transport(xmlrpc.client.Transport):
    """With a time limit, for whoever else may listen on our port."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def make_connection(self, host: tuple[str, dict[str, str]] | str) -> HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = self._seconds
        return connection


class Supervisor:
    """Talks to the supervisord of one data folder."""

    def __init__(self, state: State) -> None:
        self._names = [program.name for program in programs(state)]
        port = state.ports["supervisor"]
        self._url = f"http://{_USER}:{state.supervisor_password}@{HOST}:{port}/RPC2"

    def is_there(self) -> bool:
        """Whether it lives, if only to stop. The password tells ours from anybody else's: none but ours takes it."""
        return self._identity() is not None

    def is_running(self) -> bool:
        """Whether it lives and is not about to stop."""
        return self._identity() in {_LASTING, _TEMPORARY}

    def is_temporary(self) -> bool:
        """Whether a command started it for itself alone."""
        return self._identity() == _TEMPORARY

    def _identity(self) -> str | None:
        try:
            with self._rpc() as rpc:
                return str(rpc.getIdentification())
        except EmbeddedError as error:
            is_refusal = isinstance(error.__cause__, xmlrpc.client.Fault)
            return "stopping" if is_refusal else None  # while it stops, it answers nothing but refusals

    def start(self, name: str) -> None:
        """Start one program, without waiting for it."""
        with self._rpc() as rpc:
            rpc.startProcess(name, False)

    def stop(self, name: str) -> None:
        """Stop one program; returns when it has ended, or did not run."""
        with self._rpc(_STOP_SECONDS) as rpc, contextlib.suppress(xmlrpc.client.Fault):
            rpc.stopProcess(name, True)

    def shutdown(self) -> None:
        """Ask it to stop everything and end; returns at once."""
        with self._rpc() as rpc:
            rpc.shutdown()

    def processes(self) -> list[ProcessInfo]:
        """Every program, in the order they start."""
        with self._rpc() as rpc:
            found = {entry["name"]: entry for entry in rpc.getAllProcessInfo()}
        return [_info(found[name]) for name in self._names]

    def state(self, name: str) -> str:
        """The supervisor's word for the state of one program."""
        return next(process.state for process in self.processes() if process.name == name)

    def start_stopped(self) -> None:
        """Start whatever stands still, without waiting for it."""
        for process in self.processes():
            if process.state == "STOPPED":
                self.start(process.name)

    def uptime(self, name: str) -> int:
        """For how many seconds this program has been up; 0 when it is not."""
        return sum(process.uptime for process in self.processes() if process.name == name)

    @contextmanager
    def _rpc(self, seconds: float = 10) -> Iterator[Any]:
        """Its own namespace of methods; whatever goes wrong on the way is one error of ours."""
        try:
            with xmlrpc.client.ServerProxy(self._url, transport=_Transport(seconds)) as proxy:
                yield proxy.supervisor
        except (OSError, HTTPException, xmlrpc.client.Error, ExpatError) as error:
            raise EmbeddedError(f"The supervisor does not answer ({type(error).__name__}).") from error


def _info(entry: dict[str, int | str]) -> ProcessInfo:
    running = entry["statename"] == "RUNNING"
    uptime = int(entry["now"]) - int(entry["start"]) if running else 0
    return ProcessInfo(str(entry["name"]), str(entry["statename"]), int(entry["pid"]), uptime)
