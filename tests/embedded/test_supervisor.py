"""The supervisor's configuration is read by the supervisor itself, and it really brings back what dies."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
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
from app.shell.serving import find_whole
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
    assert shlex.split(programs.pop("room").command) == [sys.executable, str(layout.data), "room"]
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


def test_an_interrupted_restart_is_made_good_and_a_killed_start_is_not_taken_for_one(stack: Stack) -> None:
    stack.supervisor.stop("valkey")
    assert find_whole(stack.layout) is not None
    wait_for(lambda: stack.supervisor.state("valkey") == "RUNNING", "it runs again")
    (stack.layout.run / "half-started").touch()
    assert find_whole(stack.layout) is None
    assert not stack.supervisor.is_there()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
def test_a_full_disk_does_not_end_it(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)], check=False).returncode:
        pytest.skip("this machine does not let us mount a small disk")
    try:
        layout = Layout.at(disk / "data")
        layout.make()
        state = load_or_create(layout)
        supervisor, process = Supervisor(state), spawn(layout, state, temporary=False, detach=False)
        try:
            wait_for(supervisor.is_running, "the supervisor answers")
            _fill(layout.logs / "supervisord.log")
            supervisor.start("valkey")  # which it writes into its log, or would
            wait_for(lambda: supervisor.state("valkey") == "BACKOFF", "it has seen the program fail")
            assert supervisor.is_running()
        finally:
            process.kill()
            process.wait()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _fill(path: Path) -> None:
    """Make a file grow until not one more byte fits on the disk."""
    with path.open("ab", buffering=0) as file:
        for size in (4096, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass


def test_another_password_is_not_ours(stack: Stack) -> None:
    other = replace(stack.state, supervisor_password="wrong")
    assert not Supervisor(other).is_running()
    assert Supervisor(stack.state).is_running()
    assert not Supervisor(stack.state).is_temporary()
