"""`quickbg restore`: a backup put back into an empty data folder.

It is put together in a data folder of its own inside the empty one, whose parts are moved to their places at the end;
the state file is the last of them, and makes it a data folder. Before that there is only something to clear away.
"""

import io
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from alembic import command
from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Settings
from app.db.base import make_engine, make_sessions
from app.db.migrations import Schema, alembic_config, current_revision
from app.embedded import clusters, dumps
from app.embedded.control import start_stores, starting, stop
from app.embedded.given import external, given
from app.embedded.layout import EmbeddedError, Layout
from app.embedded.privileges import Identity, postgres_identity, remove
from app.embedded.state import load_or_create, save
from app.shell.archive import DUMP, Archive, BackupProblem, Manifest, opened
from app.shell.display import Steps, fetching
from app.shell.weights import settings_of
from app.storage.base import ObjectStore, content_type
from app.storage.s3 import S3Store


@dataclass(frozen=True)
class _Draft(Layout):
    """The data folder in which it is put together. Its logs outlive it: they say why something went wrong."""

    @property
    def logs(self) -> Path:
        return Layout(self.data.parent).logs


def restore(source: Path, layout: Layout) -> Manifest:
    """Fill an empty data folder from a backup. When it fails or is interrupted, the folder is as empty as before.

    Raises:
        AppError: it was not restored, and why.
    """
    _require_empty(layout)
    with opened(source) as archive:
        if Schema.of_this_code().is_ahead(archive.manifest.revision):
            raise BackupProblem(
                f"The backup was made by a newer QuickBG ({archive.manifest.quickbg}): restore it with that version."
            )
        with fetching() as show:
            archive.verify(lambda done: show("Checking the backup", done, archive.manifest.total_bytes))
        with starting(layout):
            _require_empty(layout)
            _clear(layout)
            try:
                _put_together(archive, layout)
            except BaseException:
                _clear(layout)
                raise
    return archive.manifest


def _require_empty(layout: Layout) -> None:
    if layout.state.exists() or (_has_data(layout) and not layout.restoring.exists()):
        raise BackupProblem(f"{layout.data} is in use already: choose an empty --data folder to restore into.")


def _has_data(layout: Layout) -> bool:
    """Beyond the empty folders of a start that came to nothing."""
    return layout.postgres.exists() or any(path.name != "tmp" for path in layout.s3.glob("*"))


def _clear(layout: Layout) -> None:
    """Take away what an unfinished restore has left. What marks it goes last, so that this can be cut off as well."""
    if not layout.restoring.exists():
        return
    stop(_Draft(layout.restoring))  # what a killed one has started
    if not layout.state.exists():
        remove(layout.postgres)
        remove(layout.s3)
    remove(layout.restoring)


def _put_together(archive: Archive, layout: Layout) -> None:
    draft = _Draft(layout.restoring)
    draft.make()
    own = external(given())
    identity = Identity()
    if "postgres" not in own:  # it has to pass through the outer folder, too
        identity = postgres_identity(layout.data, clusters.program("initdb"))
    save(draft, replace(load_or_create(draft), local_user=str(archive.manifest.local_user), external=own))
    with Steps() as steps:
        stack = start_stores(draft, on_step=steps)
    try:
        _fill(archive, settings_of(draft, stack.state), draft.data)
    finally:
        stack.stop()
    if draft.postgres.exists():
        identity.move(draft.postgres, layout.postgres)
    remove(layout.s3)
    draft.s3.rename(layout.s3)
    draft.state.rename(layout.state)
    remove(layout.restoring)


def _fill(archive: Archive, settings: Settings, folder: Path) -> None:
    """The objects first: with the rows, which come in one transaction, it is all there."""
    _require_empty_database(settings)
    store = S3Store(settings)
    store.prepare()
    _put_objects(archive, store)
    with tempfile.TemporaryFile(dir=folder) as dump:
        with archive.open(DUMP) as member:
            shutil.copyfileobj(member, dump)
        dump.seek(0)
        try:
            dumps.load(settings.sqlalchemy_url, dump)
        except EmbeddedError as error:
            raise BackupProblem(f"The database could not be restored: {error}") from error
    command.upgrade(alembic_config(settings.sqlalchemy_url), "head")


def _require_empty_database(settings: Settings) -> None:
    """That of one's own may hold something."""
    engine = make_engine(settings.sqlalchemy_url)
    try:
        with make_sessions(engine).begin() as session:
            if current_revision(session) is not None:
                raise BackupProblem("The database of DATABASE_URL holds data already: name an empty one.")
    except SQLAlchemyError as error:
        raise BackupProblem(f"The database cannot be reached ({type(error).__name__}).") from error
    finally:
        engine.dispose()


def _put_objects(archive: Archive, store: ObjectStore) -> None:
    done = 0
    with fetching() as show:
        for key in archive.keys:
            with archive.open(key) as member:
                data = member.read()
            store.put(key, io.BytesIO(data), content_type(key))
            done += len(data)
            show(f"Restoring {archive.manifest.objects} objects", done, archive.manifest.object_bytes)
