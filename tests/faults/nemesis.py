"""Faults by name, and a plan of them that a seed decides."""

import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.faults.proxy import HEALTHY, Toxic
from tests.faults.stack import Stack

LEASES = 2.0  # how long something stands still at most
CUT = 12.0  # seconds that a network is ill at most
BLINK = 2.0  # and at least

Act = Callable[[Stack], Callable[[], None]]  # does harm; what it returns takes it back


@dataclass(frozen=True)
class Fault:
    """`target`: what it needs to be whole when it begins. `shortest`, `longest`: seconds until it is taken back."""

    name: str
    group: str
    target: str
    act: Act
    shortest: float
    longest: float


@dataclass(frozen=True)
class Planned:
    """`at`: seconds after the load begins."""

    at: float
    until: float
    fault: Fault


def _nothing() -> None:
    """It has been taken back already, or takes itself back."""


def _kill(name: str) -> Act:
    def act(stack: Stack) -> Callable[[], None]:
        stack.kill(name)  # the stack starts it anew
        return _nothing

    return act


def _kill_child(stack: Stack) -> Callable[[], None]:
    for pid in stack.children()[:1]:
        _send(pid, signal.SIGKILL)
    return _nothing


def _kill_service(name: str) -> Act:
    def act(stack: Stack) -> Callable[[], None]:
        stack.kill_service(name)
        return lambda: stack.revive_service(name)

    return act


def _restart_postgres(stack: Stack) -> Callable[[], None]:
    stack.restart_postgres()
    return _nothing


def _flush(stack: Stack) -> Callable[[], None]:
    stack.flush()
    return _nothing


def _stop(whom: Callable[[Stack], Sequence[int]]) -> Act:
    def act(stack: Stack) -> Callable[[], None]:
        pids = whom(stack)
        for pid in pids:
            _send(pid, signal.SIGSTOP)

        def go_on() -> None:
            for pid in pids:
                _send(pid, signal.SIGCONT)

        return go_on

    return act


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _poison(name: str, toxic: Toxic) -> Act:
    def act(stack: Stack) -> Callable[[], None]:
        stack.proxies.set(name, toxic)
        return lambda: stack.proxies.set(name, HEALTHY)

    return act


TOXICS = {
    "slow": Toxic(latency=0.3, jitter=0.2),
    "narrow": Toxic(bandwidth=20_000),
    "silent": Toxic(black_hole=True),
    "reset": Toxic(reset=True),
    "refused": Toxic(refuse=True),
}
ERRORS = Toxic(errors=0.3)


def catalogue(lease: float, away: float) -> Sequence[Fault]:
    """Every fault there is, with times that fit the lease and the time that what is dead stays away."""
    stopped = BLINK, LEASES * lease
    dead = away, away
    faults = [
        Fault("kill-worker", "kills", "worker", _kill("worker"), *dead),
        Fault("kill-child", "kills", "worker", _kill_child, *dead),
        Fault("kill-api", "kills", "api", _kill("api"), *dead),
        Fault("kill-sweeper", "kills", "sweeper", _kill("sweeper"), *dead),
        Fault("kill-valkey", "kills", "valkey", _kill_service("valkey"), *dead),
        Fault("stop-worker", "stops", "worker", _stop(lambda s: [s.pid("worker"), *s.children()]), *stopped),
        Fault("stop-main", "stops", "worker", _stop(lambda s: [s.pid("worker")]), *stopped),
        Fault("stop-child", "stops", "worker", _stop(lambda s: s.children()[:1]), *stopped),
        Fault("stop-api", "stops", "api", _stop(lambda s: [s.pid("api")]), *stopped),
        Fault("stop-sweeper", "stops", "sweeper", _stop(lambda s: [s.pid("sweeper")]), *stopped),
        Fault("stop-valkey", "stops", "valkey", _stop(lambda s: [s.service_pid("valkey")]), *stopped),
        Fault("restart-postgres", "postgres", "postgres", _restart_postgres, *dead),
        Fault("kill-s3", "s3", "s3", _kill_service("seaweedfs"), *dead),
        Fault("flush-valkey", "flush", "valkey", _flush, 0, 0),
    ]
    for service in ("postgres", "valkey", "s3"):
        for kind, toxic in TOXICS.items():
            faults.append(Fault(f"{kind}-{service}", "network", service, _poison(service, toxic), BLINK, CUT))
    faults.append(Fault("errors-s3", "network", "s3", _poison("s3", ERRORS), BLINK, CUT))
    return faults


def choose(faults: Sequence[Fault], names: Sequence[str]) -> Sequence[Fault]:
    """Those of these names or groups; all for none. Raises `ValueError` for a name that there is not."""
    known = {fault.name for fault in faults} | {fault.group for fault in faults}
    if strange := sorted(set(names) - known):
        raise ValueError(f"no fault is called {', '.join(strange)}; there are {', '.join(sorted(known))}")
    return [fault for fault in faults if not names or {fault.name, fault.group} & set(names)]


def plan(faults: Sequence[Fault], *, seed: int, seconds: float, every: float) -> Iterator[Planned]:
    """One of them every so often, each on something that is whole at that moment. The same seed, the same plan."""
    generator = random.Random(seed)  # noqa: S311 - it has to be foreseeable
    busy: dict[str, float] = {}
    at = every / 2
    while at < seconds:
        able = [fault for fault in faults if busy.get(fault.target, 0.0) <= at]
        if able:
            group = generator.choice(sorted({fault.group for fault in able}))  # or the network would be at fault mostly
            fault = generator.choice([fault for fault in able if fault.group == group])
            until = at + generator.uniform(fault.shortest, fault.longest)
            busy[fault.target] = until + every / 2
            yield Planned(at, until, fault)
        at += every
