"""`quickbg doctor`: every thing that is missing or odd, in words, and how to mend it."""

import multiprocessing
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.exc import SQLAlchemyError

from app.core.capacity import CHILD_BYTES, GIB, Capacity, usable_cores, usable_memory
from app.core.config import MIB, Settings
from app.core.errors import AppError
from app.db.base import make_engine, make_sessions
from app.db.migrations import Schema, current_revision
from app.embedded import locks, ports
from app.embedded.control import Stack, find
from app.embedded.given import SECRET, external, given, variable_of
from app.embedded.layout import PROJECT_ROOT, Layout
from app.embedded.programs import PROGRAMS, SERVICES, program
from app.embedded.state import DEFAULT_API_PORT, PORT_NAMES, State, load
from app.imaging.errors import EngineUnavailable, ModelUnavailable
from app.imaging.weights import FILE_NAME, verify
from app.services.about import ModelRefused, require_licence
from app.shell.serving import MIN_FREE
from app.shell.weights import settings_of
from app.storage.s3 import S3Store

Level = Literal["ok", "note", "fault"]
_FEW_FILES = 1024
_LITTLE_SPACE = 2 * GIB


@dataclass(frozen=True)
class Finding:
    """What was looked at; `mend` says what to do about a note or a fault."""

    level: Level
    what: str
    mend: str = ""


Findings = Iterator[Finding]


def examine(layout: Layout) -> Findings:
    """Everything, in the order in which a start would meet it. Changes nothing."""
    checks: list[Callable[[Layout], Findings]] = [
        _system,
        _capacity,
        _space,
        _data_folder,
        _settings,
        _weights,
        _engine,
        _own_services,
        _remains,
        _running,
    ]
    told = set()
    for check in checks:
        try:
            yield from check(layout)
        except AppError as error:
            if str(error) not in told:  # several look at the same thing
                yield Finding("fault", str(error))
            told.add(str(error))


def _system(_: Layout) -> Findings:
    yield Finding("ok", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    if sys.platform != "linux":
        yield Finding("note", "This is not Linux: children of a killed supervisor live on until the next start.")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        yield Finding("fault", "As root, Postgres needs setpriv.", "Install util-linux, or start as an ordinary user.")
    if not ports.is_free(0):
        yield Finding("fault", f"Nothing can listen on {ports.HOST}.", "Bring the loopback interface up.")
    try:
        multiprocessing.Semaphore()
    except OSError as error:
        yield Finding("fault", f"No semaphores ({error.strerror}): the worker cannot start.", "Mount /dev/shm.")
    files, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < _FEW_FILES:
        yield Finding("note", f"Only {files} files may be open at a time.", f"ulimit -n {_FEW_FILES}")
    if not os.access(ports.SOCKETS, os.W_OK | os.X_OK):
        yield Finding("fault", f"{ports.SOCKETS} cannot be written: SeaweedFS needs it.", f"chmod 1777 {ports.SOCKETS}")
    try:
        with tempfile.TemporaryFile():
            pass
    except OSError as error:
        yield Finding("fault", f"No temporary files can be made: {error.strerror}.", "Set TMPDIR to a writable folder.")


def _capacity(_: Layout) -> Findings:
    plan, memory = Capacity.of_this_machine(), usable_memory()
    machine = f"{usable_cores()} cores and {memory / GIB:.1f} GiB of memory"
    yield Finding(
        "ok",
        f"{machine}: {plan.children} worker processes, of which {plan.runs} at a time run the network with"
        f" {plan.threads} threads (WORKER_CONCURRENCY changes the processes)",
    )
    if memory < CHILD_BYTES:
        yield Finding("note", f"A worker may need {CHILD_BYTES / GIB:.0f} GiB for the largest pictures.", "Add memory.")


def _space(layout: Layout) -> Findings:
    place = next(folder for folder in (layout.data, *layout.data.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    said = f"{free / GIB:.1f} GiB are free on the disk of {place}"
    if free < MIN_FREE:
        yield Finding("fault", said, f"Make room: {MIN_FREE // MIB} MB at least.")
    elif free < _LITTLE_SPACE:
        yield Finding("note", said, "Make room before it is full: uploads fail then.")
    else:
        yield Finding("ok", said)


def _data_folder(layout: Layout) -> Findings:
    if not layout.data.exists():
        yield Finding("ok", f"{layout.data} will be made by the first start")
        return
    if layout.data.stat().st_uid != os.geteuid():
        yield Finding("fault", f"{layout.data} belongs to another user.", "Choose another --data.")
        return
    if not os.access(layout.data, os.W_OK):
        yield Finding("fault", f"{layout.data} cannot be written.", "Check its permissions and how it is mounted.")
        return
    if load(layout) is not None:
        yield Finding("ok", f"{layout.data} has data")
    elif layout.postgres.exists():
        mend = "Put it back from a copy of it, or restore a backup into another --data."
        yield Finding("fault", f"{layout.state} is missing, and with it the keys to the data.", mend)
    else:
        yield Finding("ok", f"{layout.data} is empty")


def _settings(layout: Layout) -> Findings:
    settings = _settings_now(layout)
    yield Finding("ok", f"The settings make sense (ENV={settings.env})")
    file = PROJECT_ROOT / ".env"
    if file.exists() and file.stat().st_mode & 0o077:
        yield Finding("note", f"{file} can be read by others.", f"chmod 600 {file}")
    for name in (load(layout) or State({})).external:
        if name not in external(given()):
            variable = variable_of(name)
            yield Finding("note", f"{variable} was set at the last start and is not now.", "Put it in .env.")


def _settings_now(layout: Layout) -> Settings:
    """Those of a start now; before the first one, with ports that mean nothing."""
    state = load(layout) or State(dict.fromkeys(PORT_NAMES, 1))
    return settings_of(layout, replace(state, external=external(given())))


def _weights(layout: Layout) -> Findings:
    settings = _settings_now(layout)
    try:
        require_licence(settings)
        path = settings.model_path or settings.model_cache_dir / FILE_NAME
        if settings.model_path or path.exists():
            verify(path)
            yield Finding("ok", f"The network's weights are whole: {path}")
        else:
            yield Finding("ok", f"The network's weights (about 140 MB) will be fetched to {path}")
    except ModelRefused as error:
        yield Finding("fault", str(error), "Unset COMMERCIAL_ONLY.")
    except ModelUnavailable as error:
        yield Finding("fault", str(error), "Delete the file, so that it is fetched again, or set MODEL_PATH.")


def _engine(layout: Layout) -> Findings:
    # Here and not above: asking the libraries takes longer than all the rest of the command line.
    from app.imaging.engines.choice import choose  # noqa: PLC0415

    try:
        choice = choose(_settings_now(layout).engine)[0]
    except EngineUnavailable as error:
        yield Finding("fault", f"{error}.", "Set ENGINE=auto.")
    else:
        yield Finding("ok", f"The network will be run by {choice.wish}: {choice.reason}")


def _own_services(layout: Layout) -> Findings:
    settings = _settings_now(layout)
    own = external(given())
    probes = {"postgres": _database, "valkey": _redis, "seaweedfs": _store}
    for name in SERVICES:
        if name not in own:
            yield Finding("ok", f"{program(name).title} is embedded ({variable_of(name)} is not set)")
            continue
        try:
            yield Finding("ok", f"{variable_of(name)}: {probes[name](settings)}")
        except (SQLAlchemyError, redis.RedisError, AppError, ValueError) as error:
            said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            yield Finding("fault", f"{variable_of(name)}: {said}", "Start that server, or correct the setting.")
    if SECRET in own:
        yield Finding("ok", "SECRET_KEY is your own")


def _database(settings: Settings) -> str:
    engine = make_engine(settings.sqlalchemy_url)
    try:
        with make_sessions(engine).begin() as session:
            revision = current_revision(session)
    finally:
        engine.dispose()
    if revision is None:
        return "the database answers, and is empty"
    newer = " (newer than this code)" if Schema.of_this_code().is_ahead(revision) else ""
    return f"the database answers, and is at migration {revision}{newer}"


def _redis(settings: Settings) -> str:
    url = settings.redis_url.get_secret_value()
    with closing(
        redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2, retry=Retry(NoBackoff(), 0))
    ) as r:
        r.ping()
    return "Redis answers"


def _store(settings: Settings) -> str:
    S3Store(settings).check()
    return f"the bucket {settings.s3_bucket_name} answers"


def _remains(layout: Layout) -> Findings:
    if find(layout) is not None:
        return
    left = [each.title for each in PROGRAMS if locks.is_held(layout, each.name)]
    if left:
        yield Finding("note", f"A killed run has left {', '.join(left)}.", "The next `up` ends them.")
    if not ports.is_free(DEFAULT_API_PORT):
        yield Finding(
            "note",
            f"Port {DEFAULT_API_PORT} is taken by another program.",
            "`up` takes the next one; or choose --port.",
        )


def _running(layout: Layout) -> Findings:
    stack = find(layout)
    if stack is None:
        yield Finding("ok", "QuickBG is not running")
        return
    yield from _processes(stack)
    health = stack.health()
    if health is None:
        yield Finding("fault", f"{stack.address} does not answer.", "quickbg logs api")
        return
    for name, answer in health["checks"].items():
        if answer != "ok":
            yield Finding("fault", f"Health of {name}: {answer}.", "quickbg logs")
    yield Finding("ok" if health["status"] == "healthy" else "note", f"{stack.address} is {health['status']}")


def _processes(stack: Stack) -> Findings:
    for process in stack.supervisor.processes():
        if process.state != "RUNNING":
            mend = f"quickbg logs {process.name}; quickbg restart {process.name}"
            yield Finding("fault", f"{program(process.name).title} is {process.state.lower()}.", mend)
