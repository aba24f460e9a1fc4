"""`python -m app.tasks.alive worker|sweeper`: a container's probe. Exits 0 when such a process of this host lives.

For readiness and health checks only: the signs are rows in the database, and a database that is away for a moment must
not get the processes killed that wait for it.
"""

import argparse
import socket
import sys

from sqlalchemy.exc import SQLAlchemyError

from app.core.config import load_settings
from app.db import heartbeats
from app.db.base import make_engine, make_sessions


def main() -> None:
    """Exit with 0, or with 1 and one line that says why."""
    parser = argparse.ArgumentParser(
        prog="python -m app.tasks.alive", description="Asks whether this host's process lives"
    )
    parser.add_argument("kind", choices=("worker", "sweeper"))
    kind = parser.parse_args().kind
    settings = load_settings()
    host = socket.gethostname()
    engine = make_engine(settings.sqlalchemy_url, pool_size=1, max_overflow=0)
    try:
        with make_sessions(engine)() as session:
            online = heartbeats.online(session, kind, timing=settings.timing, host=host)
    except SQLAlchemyError as error:
        sys.exit(f"quickbg: The database does not answer ({type(error).__name__}).")
    finally:
        engine.dispose()
    if not online:
        sys.exit(
            f"quickbg: No {kind} of {host} has given a sign of life for {settings.timing.stale_after:.0f} seconds."
        )


if __name__ == "__main__":
    main()
