"""The sweeper process: `python -m app.tasks.sweeper`. Any number of them may run."""

import os
import signal
import socket
import threading
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from app.core.config import load_settings
from app.core.logging import configure_logging, get_logger
from app.db import heartbeats
from app.db.base import make_engine, make_sessions
from app.services.recovery import Recovery
from app.tasks.publishing import Publisher

log = get_logger(__name__)


def main() -> None:
    """Tick until told to stop."""
    settings = load_settings()
    configure_logging(settings.log_level)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: stopped.set())
    db = make_engine(settings.sqlalchemy_url, pool_size=2, max_overflow=1)
    sessions = make_sessions(db)
    publisher = Publisher(settings)
    recovery = Recovery(sessions, settings.timing, publisher.ready, publisher.publish)
    process = f"{socket.gethostname()}:{os.getpid()}"
    log.info("sweeper_started", interval_s=settings.timing.sweep_interval)
    while not stopped.is_set():
        try:
            tick = recovery.tick()
            with sessions.begin() as session:
                heartbeats.beat(session, process, "sweeper")
            if tick.lost or tick.overdue or tick.rung:
                log.info("sweep_done", lost=tick.lost, overdue=tick.overdue, rung=tick.rung)
        except SQLAlchemyError as error:
            log.warning("sweep_failed", error=type(error).__name__)
        stopped.wait(settings.timing.sweep_interval)
    with suppress(SQLAlchemyError), sessions.begin() as session:
        heartbeats.remove(session, process)
    publisher.close()
    db.dispose()
    log.info("sweeper_stopped")


if __name__ == "__main__":
    main()
