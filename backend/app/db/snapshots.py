"""One look at the whole database, which a dump can share: what is written meanwhile is not in it."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.base import make_engine, make_sessions


@contextmanager
def snapshot(url: str) -> Iterator[Session]:
    """A session that sees the database as it is now, for as long as a backup takes."""
    engine = make_engine(url, pool_size=1, isolation_level="REPEATABLE READ")
    try:
        with make_sessions(engine).begin() as session:
            session.execute(text("SET LOCAL statement_timeout = 0"))
            session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            yield session
    finally:
        engine.dispose()


def export(session: Session) -> str:
    """The name under which others can see the same."""
    return str(session.execute(text("SELECT pg_export_snapshot()")).scalar_one())


def server_version(session: Session) -> str:
    return str(session.execute(text("SHOW server_version")).scalar_one())


def stored_objects(session: Session) -> list[tuple[str, int]]:
    """The keys of all objects that rows name, with their sizes.

    In SQL of its own, because the database may be of an older version than the models.
    """
    named = (
        "SELECT key, size_bytes FROM uploads WHERE status = 'stored'"
        " UNION SELECT result_key, coalesce(result_bytes, 0) FROM tasks WHERE result_key IS NOT NULL"
    )
    if session.scalar(text("SELECT to_regclass('mattes')")):
        named += (
            " UNION SELECT 'mattes/' || user_id || '/' || id || '.png', size_bytes FROM mattes"
            " WHERE stored_at IS NOT NULL AND dropped_at IS NULL"
        )
    return [(key, size) for key, size in session.execute(text(f"{named} ORDER BY 1"))]
