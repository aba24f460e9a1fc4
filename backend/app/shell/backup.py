"""`quickbg backup`: the database, then the objects that it names, in one archive.

That order makes it consistent while work goes on: an object is stored before a row names it, its key is never used
again, and it is deleted only after its row has let go of it. So the objects of one snapshot of the database can be
copied at leisure.
"""

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Settings
from app.core.errors import ObjectNotFound, StorageUnavailable
from app.db import snapshots
from app.db.migrations import current_revision
from app.embedded import dumps
from app.embedded.control import Stack, start_stores, starting, together
from app.embedded.layout import Layout
from app.embedded.programs import STORES
from app.embedded.stack import require_given
from app.embedded.state import State, load
from app.shell.archive import DUMP, BackupProblem, Facts, Manifest, Writer, is_key
from app.shell.display import Steps, fetching
from app.shell.errors import UsageProblem
from app.shell.serving import find_whole
from app.shell.weights import settings_of
from app.storage.base import ObjectStore
from app.storage.s3 import S3Store
from app.version import VERSION


def backup(layout: Layout, target: Path, *, force: bool) -> Manifest:
    """Save a data folder, running or not. What could not be had is named in the manifest's `missing`.

    Raises:
        AppError: nothing was saved, and why.
    """
    _check(target, force=force)
    if load(layout) is None:
        raise BackupProblem(f"There is nothing to back up: nothing has been started on {layout.data} yet.")
    with _whole(target, force=force) as file, _stores(layout) as stack:
        require_given(stack.state, STORES)
        settings = settings_of(layout, stack.state)
        writer = Writer(file)
        facts, objects = save_database(settings, stack.state, writer, target.parent)
        return writer.close(facts, save_objects(settings, objects, writer))


def _check(target: Path, *, force: bool) -> None:
    if target.suffix != ".tar":
        raise UsageProblem(f"{target}: a backup is a plain tar (pictures do not get smaller): name it FILE.tar.")
    if target.is_dir():
        raise UsageProblem(f"{target} is a folder.")
    if os.path.lexists(target) and not target.is_file():
        raise UsageProblem(f"{target} is not an ordinary file.")
    if target.exists() and not force:
        raise UsageProblem(f"{target} exists already; --force replaces it.")


@contextmanager
def _whole(target: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """A file for this user's eyes, that gets its name when it is whole and on the disk."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise BackupProblem(f"{target} cannot be written: {error.strerror}.") from error
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        _check(target, force=force)
        draft.replace(target)
        _sync(target.parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Have the name on the disk, too; some file systems cannot be asked for that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _stores(layout: Layout) -> Iterator[Stack]:
    """The running service, kept from ending with the command that started it; else only what keeps the data."""
    layout.make()
    with together(layout), ExitStack() as nobody_else_starts:
        nobody_else_starts.enter_context(starting(layout))
        stack = find_whole(layout)
        if stack is not None:
            nobody_else_starts.close()
            yield stack
            return
        with Steps() as steps:
            stack = start_stores(layout, on_step=steps)
        try:
            yield stack
        finally:
            stack.stop()


def save_database(
    settings: Settings, state: State, writer: Writer, folder: Path
) -> tuple[Facts, list[tuple[str, int]]]:
    """Dump the database. Returns what the manifest tells of it, and the objects that it names, with their sizes."""
    url = settings.sqlalchemy_url
    with _database_faults(), snapshots.snapshot(url) as session, tempfile.TemporaryFile(dir=folder) as dump:
        revision = current_revision(session)
        if revision is None:
            raise BackupProblem("There is nothing to back up: the database is empty.")
        dumps.dump(url, snapshots.export(session), dump)
        writer.add(DUMP, dump)
        facts = Facts(
            quickbg=VERSION,
            revision=revision,
            postgres=snapshots.server_version(session),
            created_at=datetime.now(UTC),
            local_user=state.local_user_id,
        )
        return facts, snapshots.stored_objects(session)


@contextmanager
def _database_faults() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise BackupProblem(f"The database cannot be read ({type(error).__name__}).") from error


def save_objects(settings: Settings, objects: list[tuple[str, int]], writer: Writer) -> list[str]:
    """Copy the objects. Those that are not to be had do not keep the others from being saved; returns their keys."""
    store = S3Store(settings)
    missing = []
    done, total = 0, sum(size for _, size in objects)
    with fetching() as show:
        for key, size in objects:
            data = _read(store, key)
            if data is None:
                missing.append(key)
            else:
                writer.add(key, io.BytesIO(data))
            done += size
            show(f"Saving {len(objects)} objects", done, total)
    return _still_named(settings, missing) if missing else []


def _still_named(settings: Settings, keys: list[str]) -> list[str]:
    """Without those that were past their time and have been deleted since the snapshot: nobody misses them."""
    with _database_faults(), snapshots.snapshot(settings.sqlalchemy_url) as session:
        named = {key for key, _ in snapshots.stored_objects(session)}
    return [key for key in keys if key in named]


def _read(store: ObjectStore, key: str) -> bytes | None:
    if not is_key(key):
        return None
    try:
        return store.get(key)
    except ObjectNotFound:
        return None
    except StorageUnavailable:
        store.check()  # raises when it is the store that is ill, and not this one object
        return None
