"""The supervisor's configuration is read by the supervisor itself, and it really brings back what dies."""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from app.embedded import locks
from app.embedded.control import Stack, find
from app.embedded.layout import Layout
from app.embedded.programs import APPLICATION, PROGRAMS, SERVICES
from app.embedded.stack import services
from app.embedded.state import State, load_or_create
from app.embedded.supervisor import Supervisor, config_text, spawn
from tests.embedded_services import wait_for


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout.at(tmp_path / "Bil der; #1 %s 'ü")
    layout.make()
    return layout


@pytest.fixture
def state(layout: Layout) -> State:
    return load_or_create(layout)


def test_it_parses_and_stops_the_application_before_the_services(
    layout: Layout, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = layout.run / "supervisord.conf"
    config.write_text(config_text(state, temporary=False))
    monkeypatch.setenv("QUICKBG_LAUNCH", shlex.join([sys.executable, str(layout.data)]))
    monkeypatch.chdir(layout.logs)
    options = ServerOptions()
    options.realize(["-c", str(config)])

    programs = {group.name: group.process_configs[0] for group in options.process_group_configs}
    assert set(programs) == {program.name for program in PROGRAMS}
    for name, program in programs.items():
        assert shlex.split(program.command) == [sys.executable, str(layout.data), name]
        assert program.stdout_logfile == f"{name}.log"
    assert programs["postgres"].stopsignal == signal.SIGINT
    assert programs["worker"].stopsignal == signal.SIGQUIT
    assert programs["worker"].killasgroup
    assert not programs["worker"].stopasgroup
    before = max(programs[name].priority for name in SERVICES)
    assert all(programs[name].priority > before for name in APPLICATION)


@pytest.fixture
def stack(layout: Layout, state: State) -> Iterator[Stack]:
    """The supervisor with the services alone."""
    embedded = services(layout, state)
    for service in embedded:
        service.prepare()
    stack = Stack(layout, state, spawn(layout, state, temporary=False, detach=False))
    try:
        wait_for(stack.supervisor.is_running, "the supervisor answers")
        for name in SERVICES:
            stack.supervisor.start(name)
        wait_for(lambda: all(service.ready() for service in embedded), "all services are ready")
        yield stack
    finally:
        stack.stop()


def test_killed_services_come_back_and_a_stop_leaves_nothing(stack: Stack) -> None:
    pids = {process.name: process.pid for process in stack.supervisor.processes()}
    for name in SERVICES:
        os.kill(pids[name], signal.SIGKILL)
    wait_for(lambda: _all_new(stack, pids), "all three run again")
    wait_for(lambda: all(service.ready() for service in services(stack.layout, stack.state)), "all are ready")

    assert find(stack.layout) is not None
    stack.stop()
    assert find(stack.layout) is None
    assert not any(locks.is_held(stack.layout, name) for name in SERVICES)


def _all_new(stack: Stack, pids: dict[str, int]) -> bool:
    now = {process.name: process for process in stack.supervisor.processes()}
    return all(now[name].state == "RUNNING" and now[name].pid != pids[name] for name in SERVICES)


def test_a_killed_supervisor_takes_its_children_along(stack: Stack) -> None:
    process = stack.process
    assert process is not None
    process.kill()
    process.wait()
    wait_for(lambda: not any(locks.is_held(stack.layout, name) for name in SERVICES), "no service lives")


def test_another_password_is_not_ours(stack: Stack) -> None:
    other = replace(stack.state, supervisor_password="wrong")
    assert not Supervisor(other).is_running()
    assert Supervisor(stack.state).is_running()
    assert not Supervisor(stack.state).is_temporary()
