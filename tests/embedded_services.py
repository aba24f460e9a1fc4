"""The embedded services, started directly for a test run: real Postgres, Valkey and S3 on ports of their own."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.embedded.layout import PROJECT_ROOT, Layout
from app.embedded.service import Service
from app.embedded.stack import services, settings_environment
from app.embedded.state import State, load_or_create

START_SECONDS = 60.0


@dataclass
class RunningServices:
    """What runs, by name: `postgres`, `valkey`, `seaweedfs`. `env` is what `Settings` needs."""

    layout: Layout
    state: State
    services: Mapping[str, Service]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return settings_environment(self.layout, self.state)

    @property
    def ports(self) -> Mapping[str, int]:
        return self.state.ports

    def start(self, name: str, *, wait: bool = True) -> None:
        """Start one, and wait until it is ready."""
        self.services[name].prepare()
        # The supervisor's own way: it waits until whatever a killed one has left behind is gone.
        command = [sys.executable, "-m", "app.embedded.launch", str(self.layout.data), name]
        with (self.layout.logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=PROJECT_ROOT / "backend", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if wait:
            self.wait_ready(name)

    def wait_ready(self, name: str) -> None:
        """Wait until it answers; its log says why when it does not."""
        service, process = self.services[name], self.processes[name]
        wait_for(lambda: process.poll() is not None or service.ready(), f"{name} is ready")
        if process.poll() is not None:
            raise AssertionError(f"{name} ended: {(self.layout.logs / f'{name}.log').read_text()[-2000:]}")
        service.configure()

    def stop(self, name: str) -> None:
        """Stop one as the supervisor does. One that does not run is left alone."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        process.send_signal(self.services[name].stop_signal)
        try:
            process.wait(self.services[name].stop_wait)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.services[name].cleanup()

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash would."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def restart(self, name: str) -> None:
        """Stop it (when it runs) and start it again on the same data and port."""
        self.stop(name)
        self.start(name)

    def close(self) -> None:
        """Stop all; the three stop side by side."""
        for name, process in self.processes.items():
            process.send_signal(self.services[name].stop_signal)
        for name, service in self.services.items():
            self.stop(name)
            service.cleanup()  # of one that was killed, too


@contextmanager
def start_services(data: Path) -> Iterator[RunningServices]:
    """The three services on `data`, ready; stopped at the end, whatever happens."""
    layout = Layout.at(data)
    layout.make()
    state = load_or_create(layout)
    running = RunningServices(layout, state, {service.name: service for service in services(layout, state)})
    try:
        for name in running.services:
            running.start(name, wait=False)
        for name in running.services:
            running.wait_ready(name)
        yield running
    finally:
        running.close()


def wait_for(condition: Callable[[], bool], what: str, *, seconds: float = START_SECONDS, every: float = 0.02) -> None:
    """Poll a condition; fail with `what` when it stays false."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(every)
