"""Mattes are kept: other options, and the same picture again, cost no run of the network.

One attempt makes a matte, and whoever else needs the same one waits a moment for it. Nothing of this may cost anybody
his result: a matte that cannot be had is made, and one that cannot be kept is not.
"""

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy.exc import SQLAlchemyError

from app.core.errors import ObjectNotFound, StorageUnavailable
from app.core.logging import get_logger
from app.db import mattes
from app.db.base import Sessions
from app.db.mattes import Wanted
from app.db.models import Matte as Row
from app.imaging.kept import from_bytes, to_bytes
from app.imaging.matte import Matte
from app.imaging.models import ISNET_GENERAL_USE
from app.imaging.pipeline import CutoutOptions
from app.storage.base import ObjectStore, content_type, matte_key

PATIENCE = 10.0  # seconds that a matte may take to be made, before the next one makes it himself
SHARE = 0.25  # of the time that a try has: waiting for another one is not to be what it fails of
PAUSE = 0.05

log = get_logger(__name__)


def model_name(model_path: Path | None) -> str:
    """What tells the mattes of one network from those of another; of a file of one's own, which file it was."""
    if model_path is None:
        return ISNET_GENERAL_USE.name
    facts = model_path.stat()
    return f"{model_path.name}:{facts.st_size}:{facts.st_mtime_ns}"


@dataclass(frozen=True)
class Mattes:
    """The use case with the parts that it works on. `model`: as `model_name` says it. `try_seconds`: what a try has."""

    sessions: Sessions
    store: ObjectStore
    model: str
    try_seconds: float = PATIENCE / SHARE

    @contextmanager
    def search(
        self, user_id: UUID, data: bytes, options: CutoutOptions, check: Callable[[], None], model: str | None = None
    ) -> Iterator["Search"]:
        """For the matte of this file. `check` raises when there is no use in waiting for it any more. `model`: another
        network than usual.

        What was promised and came to nothing is given up at the end.
        """
        level = options.quality if options.refine else "rembg"
        wanted = Wanted(user_id, hashlib.sha256(data).hexdigest(), model or self.model, level)
        patience = min(PATIENCE, SHARE * self.try_seconds)
        search = Search(self.sessions, self.store, wanted, check, patience)
        try:
            yield search
        finally:
            search.give_up()


class Search:
    """One attempt's search for one matte: `find` it, or make it and `keep` it."""

    def __init__(
        self, sessions: Sessions, store: ObjectStore, wanted: Wanted, check: Callable[[], None], patience: float
    ) -> None:
        self._sessions, self._store, self._wanted, self._check = sessions, store, wanted, check
        self._patience = patience
        self._promised: UUID | None = None

    def find(self, shape: tuple[int, int]) -> Matte | None:
        """The matte, for a picture of this height and width. None: it has to be made."""
        try:
            while (row := self._ask()) is not None:
                if (found := self._read(row, shape)) is not None:
                    return found
                log.warning("matte_broken", matte_id=str(row.id))
                with self._sessions.begin() as session:
                    mattes.drop(session, row.id)
        except (StorageUnavailable, SQLAlchemyError) as error:
            log.warning("matte_not_found", error=type(error).__name__)
        return None

    def keep(self, found: Matte) -> None:
        """Store what was made. The result is delivered already: whatever goes wrong here, only the log is told."""
        if self._promised is None:
            return
        try:
            self._put(self._promised, found)
        except Exception as error:
            log.warning("matte_not_kept", error=type(error).__name__)

    def give_up(self) -> None:
        """Nobody has to wait for what was promised and is not kept."""
        if self._promised is None:
            return
        try:
            with self._sessions.begin() as session:
                mattes.drop(session, self._promised)
        except SQLAlchemyError as error:  # those who wait have their patience, and no more
            log.warning("matte_left_behind", error=type(error).__name__)

    def _ask(self) -> Row | None:
        """The matte's row, which may take as long as somebody makes it. None: it is ours to make."""
        matte_id = uuid4()
        while True:
            with self._sessions.begin() as session:
                row = mattes.find(session, self._wanted)
                if row is not None and row.stored_at is not None:
                    return row
                if mattes.promise(session, matte_id, self._wanted, patience=self._patience):
                    break
            self._check()
            time.sleep(PAUSE)
        self._promised = matte_id
        return None

    def _read(self, row: Row, shape: tuple[int, int]) -> Matte | None:
        try:
            alpha = from_bytes(self._store.get(matte_key(row.user_id, row.id)), shape)
        except ObjectNotFound:
            return None
        return None if alpha is None or row.confidence is None else Matte(alpha, row.confidence)

    def _put(self, matte_id: UUID, found: Matte) -> None:
        data = to_bytes(found.alpha)
        key = matte_key(self._wanted.user_id, matte_id)
        self._store.put(key, io.BytesIO(data), content_type(key))
        with self._sessions.begin() as session:
            kept = mattes.mark_stored(session, matte_id, confidence=found.confidence, size_bytes=len(data))
        if kept:
            self._promised = None
        else:  # its picture was deleted, or somebody has lost his patience
            self._store.delete(key)
