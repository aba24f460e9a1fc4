"""Dumping a database and loading the dump, with Postgres's own programs: of the embedded server or any other."""

import os
import subprocess
from collections.abc import Mapping
from typing import IO

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from app.embedded import clusters
from app.embedded.layout import EmbeddedError

# Signs of life of processes: none of them lives where the dump is loaded.
_NOT_SAVED = "worker_heartbeats"


def dump(url: str, snapshot: str, target: IO[bytes]) -> None:
    """Write what an exported snapshot shows.

    Raises:
        EmbeddedError: it fails, and why.
    """
    options = (f"--snapshot={snapshot}", f"--exclude-table-data={_NOT_SAVED}", "--lock-wait-timeout=30s")
    _run("pg_dump", url, ("--format=custom", *options), stdout=target)


def load(url: str, source: IO[bytes]) -> None:
    """Fill an empty database, wholly or not at all.

    Raises:
        EmbeddedError: it fails, and why.
    """
    options = ("--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges")
    _run("pg_restore", url, options, stdin=source)


def _run(
    name: str,
    url: str,
    options: tuple[str, ...],
    *,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    stdout: IO[bytes] | int = subprocess.DEVNULL,
) -> None:
    target, password = _without_password(url)
    done = subprocess.run(  # noqa: S603 - our own command
        [str(clusters.program(name)), *options, f"--dbname={target}"],
        # The caller's environment too: libpq's other variables count for the application, and so for this.
        env={**os.environ, **password, "LC_ALL": "C"},
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise EmbeddedError(next((line for line in said if "error: " in line), said[-1]))


def _without_password(url: str) -> tuple[str, Mapping[str, str]]:
    """The password goes by the environment: `ps` would show it on the command line."""
    parts = conninfo_to_dict(url.replace("postgresql+psycopg://", "postgresql://", 1))
    password = parts.pop("password", None)
    return make_conninfo("", **parts), {"PGPASSWORD": str(password)} if password else {}
