"""A running service for a command: brought up to stay, or borrowed for as long as the command works."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from app.core.config import MIB, Environment, Settings
from app.embedded import ports
from app.embedded.control import Stack, alone, find, require_free, start, starting, stop, together
from app.embedded.control import restart as restart_one
from app.embedded.given import SECRET, external, given, variable_of
from app.embedded.layout import EmbeddedError, Layout
from app.embedded.programs import SERVICES, program
from app.embedded.stack import require_given
from app.embedded.state import DEFAULT_API_PORT, State, load, load_or_create
from app.services.about import require_licence
from app.shell.display import Steps, say
from app.shell.errors import SettingsProblem
from app.shell.weights import ensure, ensure_extra, require_engine, settings_of

MIN_FREE = 256 * MIB  # a few pictures, and what Postgres writes ahead


def bring_up(layout: Layout, *, port: int | None, detach: bool) -> tuple[Stack, float | None]:
    """The service of this data folder, to stay, and the seconds it took; None when it was running already.

    Raises:
        AppError: it does not start, in one sentence.
    """
    while True:
        with starting(layout, _say_waiting):
            stack = find_whole(layout)
            if stack is None:
                return _start(layout, port=port, detach=detach)
            if not stack.supervisor.is_temporary():
                return stack, None
        say("Another command has started the service for itself: waiting for its end.")
        with alone(layout):
            pass


def _say_waiting() -> None:
    say("Another command starts this data folder, or saves it: waiting for it ...")


def take_down(layout: Layout) -> bool:
    """Stop what runs on the data folder, or is about to. Returns whether anything ran."""
    if load(layout) is None:
        return False
    with starting(layout, _say_waiting):
        return stop(layout)


def restart(layout: Layout, name: str) -> bool:
    """Restart one process; what would keep it from starting is found before it is stopped. False: nothing runs.

    Raises:
        AppError: it is not restarted, or does not come back.
    """
    if find(layout) is None:
        return False
    with starting(layout, _say_waiting):
        stack = find_whole(layout)
        if stack is None:
            return False
        require_given(stack.state, stack.state.external)
        settings_of(layout, stack.state)
        restart_one(stack, name)
    return True


def find_whole(layout: Layout) -> Stack | None:
    """The running service; the remains of a start that was killed half-way are stopped.

    What an interrupted restart has left stopped is started.
    """
    stack = find(layout)
    if stack is None:
        return None
    if stack.is_half_started():
        stack.stop()
        return None
    stack.supervisor.start_stopped()
    return stack


def _start(layout: Layout, *, port: int | None, detach: bool) -> tuple[Stack, float]:
    if port is not None:
        require_free(port)  # said before a long download, not after it
    begun = time.monotonic()
    _make_sure(layout)
    with Steps() as steps:
        stack = start(layout, port=port, on_step=steps, detach=detach)
    if port is None and stack.state.api_port != DEFAULT_API_PORT:
        say(f"Port {DEFAULT_API_PORT} is taken by another program: the API is on port {stack.state.api_port}.")
    return stack, time.monotonic() - begun


@contextmanager
def borrowed(layout: Layout) -> Iterator[Stack]:
    """The running service, or one started for this and for whoever joins in meanwhile, and stopped afterwards.

    Raises:
        AppError: it does not start, in one sentence.
    """
    layout.make()
    with together(layout) as everybody_else_is_done:
        with starting(layout, _say_waiting):
            found = find_whole(layout)
            stack = found or _start_temporarily(layout)
        try:
            yield stack
        finally:
            if found is None:
                try:
                    everybody_else_is_done()
                finally:
                    stack.stop()


def _start_temporarily(layout: Layout) -> Stack:
    _make_sure(layout)
    with Steps() as steps:
        return start(layout, port=ports.choose(()), on_step=steps, temporary=True)


def _make_sure(layout: Layout) -> None:
    """Of all that can be known before anything starts; and say whose services will be used."""
    before = load_or_create(layout)
    own = external(given())
    _tell(before, own)
    settings = settings_of(layout, replace(before, external=own))
    _require_own_services(settings, own)
    _require_space(layout)
    require_licence(settings)
    require_engine(settings)
    ensure(settings.model_cache_dir, settings.model_path)
    ensure_extra(settings)


def _tell(before: State, own: Sequence[str]) -> None:
    """Nobody may take one database for another: neither his own for ours, nor ours for his own."""
    for name in (*SERVICES, SECRET):
        variable = variable_of(name)
        if name in own and name in SERVICES:
            say(f"{variable} is set: your own server is used, and no {program(name).title} is started here.")
        elif name in before.external:
            say(f"Note: {variable} was set at the last start and is not now. What was kept there is not seen here.")


def _require_own_services(settings: Settings, own: Sequence[str]) -> None:
    missing = [variable_of(name) for name in (*SERVICES, SECRET) if name not in own]
    if settings.env is Environment.PRODUCTION and missing:
        raise SettingsProblem(
            f"ENV=production needs services and secrets of your own: set {', '.join(missing)}."
            " The embedded ones are for a single machine."
        )


def _require_space(layout: Layout) -> None:
    free = shutil.disk_usage(layout.data).free
    if free < MIN_FREE:
        raise EmbeddedError(
            f"The disk of {layout.data} is full: {free // MIB} MB are free, and {MIN_FREE // MIB} MB are needed."
        )
