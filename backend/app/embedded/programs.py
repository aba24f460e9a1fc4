"""What the supervisor runs: the embedded services and the application's own three processes."""

import signal
import sys
from dataclasses import dataclass

from app.embedded.state import State

SERVICES = ("postgres", "valkey", "seaweedfs")
STORES = ("postgres", "seaweedfs")  # those that keep what must not be lost
APPLICATION = ("worker", "api", "sweeper")  # in the order they are started: the worker takes longest


@dataclass(frozen=True)
class Program:
    """How the supervisor treats one process. The lower priority starts first and stops last."""

    name: str
    title: str
    priority: int
    stop_signal: signal.Signals = signal.SIGTERM
    stop_wait: int = 15
    with_group: bool = False  # past `stop_wait`, its children are killed with it
    death_signal: signal.Signals = signal.SIGTERM  # when the supervisor dies


PROGRAMS = (
    Program("postgres", "Postgres", 1, signal.SIGINT, 30),
    Program("valkey", "Valkey", 1),
    Program("seaweedfs", "SeaweedFS", 1, stop_wait=30),  # its own housekeeping may hold it up for ten seconds
    Program("sweeper", "the sweeper", 10),
    # SIGQUIT: Celery lets what it is doing end; its children must not hear of it. When the supervisor dies, the broker
    # and the database go with it, and a worker that were asked to end would wait for them.
    Program("worker", "the worker", 20, signal.SIGQUIT, 30, with_group=True, death_signal=signal.SIGKILL),
    Program("api", "the API", 30, stop_wait=30),
)


def programs(state: State) -> tuple[Program, ...]:
    """Those of a data folder: without the services that somebody else's server stands in for."""
    return tuple(program for program in PROGRAMS if program.name not in state.external)


def program(name: str) -> Program:
    """The program of this name."""
    return next(program for program in PROGRAMS if program.name == name)


def application_command(name: str, state: State) -> tuple[str, ...]:
    """The command line of one of the `APPLICATION` processes."""
    module: tuple[str, ...] = {
        "sweeper": ("app.tasks.sweeper",),
        "worker": ("celery", "-A", "app.tasks.celery_app", "worker", "--without-gossip", "--without-mingle"),
        "api": ("app.api.server", "--host", "127.0.0.1", "--port", str(state.api_port)),
    }[name]
    return (sys.executable, "-m", *module)
