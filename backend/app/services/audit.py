"""Objects that no row stands for: what crashes of every kind have left in the bucket, found by reading all of it.

In normal operation nothing is: rows name every object before it is stored. A machine that was asleep for days may
still wake up and store one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from app.core.logging import get_logger
from app.db import mattes, retention
from app.db.base import Sessions
from app.services.retention import IMPORT_SECONDS
from app.storage.base import (
    IMPORTS,
    IMPROVE,
    PREFIXES,
    ObjectStore,
    StoredObject,
    matte_key,
    matte_of_key,
    task_of_key,
)

BATCH = 500
OLD = 86_400.0  # seconds

log = get_logger(__name__)


@dataclass(frozen=True)
class Audited:
    """What an audit found."""

    objects: int  # all that are ours
    orphans: int
    orphan_bytes: int
    deleted: int


@dataclass(frozen=True)
class Audit:
    """The use case with the parts that it works on. Only objects older than `age` seconds are looked at."""

    sessions: Sessions
    store: ObjectStore
    age: float = OLD

    def run(self, *, delete: bool = False) -> Audited:
        """Report, and delete if told to."""
        objects = orphans = size = deleted = 0
        for page in self._pages():
            objects += len(page)
            for orphan in self._orphans(page):
                orphans, size = orphans + 1, size + orphan.size_bytes
                log.info("orphan_found", key=orphan.key, size_bytes=orphan.size_bytes, deleting=delete)
                if delete:
                    self.store.delete(orphan.key)
                    deleted += 1
        return Audited(objects, orphans, size, deleted)

    def _pages(self) -> Iterator[Sequence[StoredObject]]:
        for prefix in PREFIXES:
            entries = self.store.list(prefix)
            while page := list(islice(entries, BATCH)):
                yield page

    def _orphans(self, page: Sequence[StoredObject]) -> Sequence[StoredObject]:
        tasks = [task for entry in page if (task := task_of_key(entry.key))]
        made = [matte for entry in page if (matte := matte_of_key(entry.key))]
        with self.sessions.begin() as session:
            # The store's own time against the database's: a day's distance forgives the difference.
            then = retention.now(session) - timedelta(seconds=self.age)
            known = retention.known_keys(session, [entry.key for entry in page], tasks)
            known |= {matte_key(row.user_id, row.id) for row in mattes.find_all(session, made)}
        # What clients put there has no rows: it is left to its own cleaning for as long, or to the operator.
        ours = (entry for entry in page if not entry.key.startswith(IMPROVE))
        ages = ((entry, timedelta(seconds=IMPORT_SECONDS * entry.key.startswith(IMPORTS))) for entry in ours)
        return [entry for entry, more in ages if entry.key not in known and entry.modified_at < then - more]
