"""Engine, sessions and the declarative base. Queries live in the modules beside this one, and never commit."""

import time
from typing import Any

from sqlalchemy import Engine, MetaData, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

REST = 1.0  # seconds

Sessions = sessionmaker[Session]

# Names given to every constraint, so that a migration can address each of them.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


def make_engine(url: str, *, pool_size: int = 5, max_overflow: int = 10, **options: Any) -> Engine:
    """An engine whose connections give up soon: no statement, lock or idle transaction may hold a request."""
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_recycle=1800,
        pool_timeout=5,
        hide_parameters=True,  # an error's text goes to the log, and a parameter may be a password's hash
        connect_args={
            "connect_timeout": 3,
            "options": "-c timezone=UTC -c statement_timeout=10000 -c lock_timeout=3000"
            " -c idle_in_transaction_session_timeout=15000",
            "tcp_user_timeout": 8_000,  # milliseconds until unacknowledged data ends the connection
            "keepalives_idle": 30,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
        **options,
    )
    _ping_after_rest(engine)
    return engine


def _ping_after_rest(engine: Engine) -> None:
    """Ask a connection whether it still lives, unless it was in use just now.

    SQLAlchemy's own `pool_pre_ping` asks each time, which is a third of a short transaction.
    """

    @event.listens_for(engine, "checkin")
    def rest(_: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def wake(connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
        rests_since = record.info.get("rests_since")
        if rests_since is None or time.monotonic() - rests_since < REST:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error  # the others are as old: the pool makes new ones


def make_sessions(engine: Engine) -> Sessions:
    return sessionmaker(bind=engine, expire_on_commit=False)
