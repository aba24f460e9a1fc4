"""`python -m app.embedded.launch DATA NAME`: become one process of the stack.

The supervisor's configuration names nothing but this command, so that secrets stand in the state file alone and no
path needs to be escaped.
"""

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from app.core.errors import AppError
from app.embedded import locks
from app.embedded.death import die_with_parent
from app.embedded.layout import PROJECT_ROOT, EmbeddedError, Layout
from app.embedded.programs import APPLICATION, application_command, program
from app.embedded.room import watch
from app.embedded.stack import service, settings_environment
from app.embedded.state import State, load


def launch(layout: Layout, name: str) -> None:
    """Replace this process by the one called `name`; `room` is this one.

    Raises:
        EmbeddedError: there is nothing to start in this data folder.
    """
    state = load(layout)
    if state is None:
        raise EmbeddedError(f"{layout.data} has never been started.")
    os.umask(0o077)
    if name == "room":
        die_with_parent(signal.SIGKILL)
        watch(layout, state)
    locks.hold(layout, name)
    if name in APPLICATION:
        _become_application(layout, state, name)
    wanted = service(layout, state, name)
    os.chdir(wanted.cwd)
    os.execve(wanted.argv[0], wanted.argv, dict(wanted.env))  # noqa: S606 - no shell is wanted


def _become_application(layout: Layout, state: State, name: str) -> NoReturn:
    command = application_command(name, state)
    die_with_parent(program(name).death_signal)
    os.chdir(PROJECT_ROOT)
    os.execve(command[0], command, os.environ | settings_environment(layout, state))  # noqa: S606


if __name__ == "__main__":
    # A stop that comes before the exec must end this process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        launch(Layout.at(Path(sys.argv[1])), sys.argv[2])
    except AppError as error:
        sys.exit(f"quickbg: {error}")
