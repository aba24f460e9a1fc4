"""Runs the migrations against DATABASE_URL, one process at a time."""

from alembic import context
from sqlalchemy import create_engine, pool, text

from app.core.config import load_settings
from app.core.logging import configure_logging
from app.db import models  # noqa: F401 - it names the tables
from app.db.base import Base

# Two deployments that migrate at once take turns under this advisory lock.
LOCK = 0x0BAC_C1EA


def run_migrations() -> None:
    url = context.config.attributes.get("url") or load_settings().sqlalchemy_url
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
        # Running requests go first: a migration gives up rather than hold a table for longer.
        connection.execute(text("SET lock_timeout = 3000"))
        connection.commit()
        context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


if context.is_offline_mode():
    raise SystemExit("Migrations run against a live database only: they wait for one another under its lock.")
if context.config.cmd_opts is not None:  # a process of its own, and not a step of another
    configure_logging()
run_migrations()
