"""Bringing a data folder's database and bucket up to date, in a process of its own.

Its imports take a second that no other command should pay.
"""

import os
import subprocess
import sys
from pathlib import Path

from app.embedded.layout import PROJECT_ROOT, EmbeddedError, Layout
from app.embedded.stack import settings_environment
from app.embedded.state import State
from app.version import VERSION


def is_provisioned(layout: Layout, state: State) -> bool:
    """Whether this very version has done it before on these very data: then there is nothing to do."""
    stamp = _stamp(layout)
    try:
        # Both are as old as the data. They are missing where somebody else keeps these, who may have changed them.
        made = max(path.stat().st_mtime for path in (layout.postgres / "PG_VERSION", layout.s3 / "vol_dir.uuid"))
        return stamp.stat().st_mtime > made and stamp.read_text() == _wanted(state)
    except OSError:
        return False


def provision(layout: Layout, state: State) -> None:
    """Run `app.embedded.provision`. The database and the object store can be reached.

    Raises:
        EmbeddedError: it failed, and how.
    """
    log = layout.logs / "provision.log"
    with log.open("w") as file:
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "app.embedded.provision", state.local_user],
            env=os.environ | settings_environment(layout, state),
            cwd=PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            check=False,
        )
    if done.returncode:
        said = log.read_text(errors="replace").strip().splitlines() or ["no reason given"]
        raise EmbeddedError(f"{said[-1].removeprefix('quickbg: ')} (more in {log})")
    _stamp(layout).write_text(_wanted(state))


def _stamp(layout: Layout) -> Path:
    return layout.run / "provisioned"


def _wanted(state: State) -> str:
    migrations = sorted(path.name for path in (PROJECT_ROOT / "alembic" / "versions").glob("*.py"))
    return f"{VERSION} {migrations[-1]} {state.local_user} {state.external}"
