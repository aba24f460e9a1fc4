"""The sweeper process: `python -m app.tasks.sweeper`. Any number of them may run.

It ticks, cleans up, delivers webhooks and answers the jobs of other Celery clients.
"""

import os
import signal
import socket
import threading
from contextlib import suppress
from dataclasses import asdict

from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Settings, load_settings
from app.core.logging import configure_logging, get_logger
from app.db import heartbeats
from app.db.base import Sessions, make_engine, make_sessions
from app.outbound.client import Outbound
from app.services.counting import Bookkeeping, Counts
from app.services.deliveries import PLACES, TRY_SECONDS, Deliveries
from app.services.jobs import Answers
from app.services.pipelines import Pipelines
from app.services.recovery import Recovery
from app.services.retention import Retention
from app.services.status import Statuses
from app.storage.s3 import S3Store
from app.tasks.publishing import Publisher
from app.tasks.results import result_keeper

FIRST_CLEANING = 60.0  # seconds after the start
ANSWER_EVERY = 1.0  # seconds

log = get_logger(__name__)


def main() -> None:
    """Tick until told to stop."""
    settings = load_settings()
    configure_logging(settings.log_level)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: stopped.set())
    db = make_engine(settings.sqlalchemy_url, pool_size=5, max_overflow=PLACES)
    sessions = make_sessions(db)
    publisher = Publisher(settings)
    counts = Counts()
    bookkeeping = Bookkeeping(counts, sessions, settings.timing.heartbeat)
    bookkeeping.start()
    recovery = Recovery(sessions, settings.timing, publisher.ready, publisher.publish, counts)
    deliveries = Deliveries(settings, sessions, Outbound(settings, total_seconds=TRY_SECONDS), counts)
    deliveries.start()
    threading.Thread(target=_answer, args=(settings, sessions, stopped), name="answers", daemon=True).start()
    process = f"{socket.gethostname()}:{os.getpid()}"
    if settings.cleanup_enabled:
        cleaning = threading.Thread(target=_clean, args=(settings, sessions, stopped), name="cleaning", daemon=True)
        cleaning.start()
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
    deliveries.close()
    with suppress(SQLAlchemyError), sessions.begin() as session:
        heartbeats.remove(session, process)
    bookkeeping.close()
    publisher.close()
    db.dispose()
    log.info("sweeper_stopped")


def _clean(settings: Settings, sessions: Sessions, stopped: threading.Event) -> None:
    """Beside the ticks, which a slow object store must not hold up."""
    retention = Retention(settings, sessions, S3Store(settings))
    interval = settings.cleanup_interval_seconds
    pause = min(FIRST_CLEANING, interval)  # one that is restarted often has to come to it, too
    while not stopped.wait(pause):
        pause = interval
        try:
            log.info("cleaned", **asdict(retention.clean()))
        except Exception:
            log.exception("cleaning_failed")


def _answer(settings: Settings, sessions: Sessions, stopped: threading.Event) -> None:
    """Likewise beside the ticks: nor may a slow backend of results."""
    pipelines = Pipelines(sessions, Statuses(sessions, S3Store(settings)))
    answers = Answers(sessions, pipelines, result_keeper(settings))
    while not stopped.wait(ANSWER_EVERY):
        try:
            answers.give()
        except Exception as error:  # the next time, then
            log.warning("jobs_not_answered", error=type(error).__name__)


if __name__ == "__main__":
    main()
