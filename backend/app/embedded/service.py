"""One embedded service, told to whoever starts it: the supervisor's launcher, or a test."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app.embedded.layout import EmbeddedError


def _nothing() -> None:
    """The default of a step that most services do not need."""


@dataclass(frozen=True)
class Service:
    """How to prepare, run, probe and stop one service. `argv` stays in the foreground."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]  # complete: nothing of the caller's environment is added
    prepare: Callable[[], None]  # before each start; repeats harmlessly
    reachable: Callable[[], bool]  # one quick probe, that never raises: others may be started that use it
    ready: Callable[[], bool]  # likewise: it does all it is there for
    configure: Callable[[], None] = _nothing  # once it is ready; repeats harmlessly
    cleanup: Callable[[], None] = _nothing  # after it has stopped
    stop_signal: signal.Signals = signal.SIGTERM
    stop_wait: int = 15  # seconds until it is killed


def plain_environment(**more: str) -> dict[str, str]:
    """An environment that holds none of the caller's secrets and no odd locale."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **more}


def dies_with_parent(with_signal: signal.Signals = signal.SIGTERM) -> tuple[str, ...]:
    """A command's prefix: see `embedded.death`."""
    return (sys.executable, "-P", "-m", "app.embedded.death", with_signal.name.removeprefix("SIG"))


def package_folder(package: str) -> Path:
    """The folder of an installed package, which is not imported: some of these packages act at import.

    Raises:
        EmbeddedError: it is not installed.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedError(f"The Python package {package} is missing: install requirements.txt.")
    return Path(spec.origin).parent
