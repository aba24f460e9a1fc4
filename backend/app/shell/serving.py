"""A running service for a command: brought up to stay, or borrowed for as long as the command works."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.embedded import ports
from app.embedded.control import Stack, alone, find, require_free, start, starting, together
from app.embedded.layout import PROJECT_ROOT, Layout
from app.embedded.stack import shadowed
from app.embedded.state import DEFAULT_API_PORT, load_or_create
from app.services.about import require_licence
from app.shell.display import Steps, say
from app.shell.weights import ensure, settings_of


def bring_up(layout: Layout, *, port: int | None, detach: bool) -> tuple[Stack, float | None]:
    """The service of this data folder, to stay, and the seconds it took; None when it was running already.

    Raises:
        AppError: it does not start, in one sentence.
    """
    while True:
        with starting(layout):
            stack = _find_whole(layout)
            if stack is None:
                return _start(layout, port=port, detach=detach)
            if not stack.supervisor.is_temporary():
                return stack, None
        say("A removal has started the service for itself: waiting for its end.")
        with alone(layout):
            pass


def _find_whole(layout: Layout) -> Stack | None:
    """The running service; the remains of a start that was killed half-way are stopped."""
    stack = find(layout)
    if stack is None or stack.supervisor.is_complete():
        return stack
    stack.stop()
    return None


def _start(layout: Layout, *, port: int | None, detach: bool) -> tuple[Stack, float]:
    if port is not None:
        require_free(port)  # said before a long download, not after it
    _tell_what_is_not_used()
    begun = time.monotonic()
    _ensure_weights(layout)
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
        with starting(layout):
            found = _find_whole(layout)
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
    _ensure_weights(layout)
    with Steps() as steps:
        return start(layout, port=ports.choose(()), on_step=steps, temporary=True)


def _ensure_weights(layout: Layout) -> None:
    settings = settings_of(layout, load_or_create(layout))
    require_licence(settings)
    ensure(settings.model_cache_dir, settings.model_path)


def _tell_what_is_not_used() -> None:
    """Somebody who has named a database must learn that his data will lie in another."""
    file = PROJECT_ROOT / ".env"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    for name in shadowed([*os.environ, *(line.partition("=")[0].strip() for line in lines)]):
        say(f"Note: your {name} is not used: this starts services of its own.")
