"""What the database says of its own accord: which tasks have changed."""

from collections.abc import Iterator
from contextlib import suppress
from selectors import EVENT_READ, DefaultSelector
from socket import socket
from uuid import UUID

import psycopg
from sqlalchemy import make_url

CHANNEL = "tasks"  # a trigger notifies it with the id of each task that changes in status, stage or attempt
DEAF = 5.0  # seconds after which the connection is read in any case: TLS may hold back what the socket does not show


def listen(url: str, until: socket) -> Iterator[UUID | None]:
    """The id of each task that changes, as soon as that is committed.

    First comes None: from then on nothing is missed. It ends once `until` can be read.

    Raises:
        psycopg.Error: the database cannot be reached, or not any more.
    """
    with _connect(url) as connection, DefaultSelector() as selector:
        connection.execute(f"LISTEN {CHANNEL}")
        selector.register(connection, EVENT_READ)
        selector.register(until, EVENT_READ)
        yield None
        while not any(key.fileobj is until for key, _ in selector.select(DEAF)):
            for notice in connection.notifies(timeout=0):
                with suppress(ValueError):  # anybody may notify; only ids are ours
                    yield UUID(notice.payload)


def _connect(url: str) -> psycopg.Connection:
    """A connection of its own (one that listens cannot be lent out), which notices within a minute that it is dead."""
    parsed = make_url(url)
    args, options = parsed.get_dialect()().create_connect_args(parsed)  # so that every address of the engine's will do
    own = {
        "autocommit": True,
        "application_name": "quickbg-changes",
        "connect_timeout": 3,
        "options": "-c timezone=UTC -c statement_timeout=10000",
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    connection: psycopg.Connection = psycopg.connect(*args, **{**options, **own})
    return connection
