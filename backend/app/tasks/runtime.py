"""The worker child's composition root: engine, store and database, built once in each child and warmed up.

What only the jobs of other Celery clients need is built when the first of them comes.
"""

import os
import socket
import time
from dataclasses import asdict
from functools import cached_property, partial

import cv2
import numpy as np
from celery.exceptions import SoftTimeLimitExceeded

from app.core.capacity import Capacity, usable_memory
from app.core.config import Settings
from app.core.logging import get_logger
from app.core.metrics import MetricsLog
from app.db.base import make_engine, make_sessions
from app.imaging.engines.base import INPUT_SHAPE, Engine
from app.imaging.engines.choice import load, load_other
from app.imaging.models import MODELS, ModelEntry
from app.imaging.weights import verify_model, where_model_is, where_weights_are
from app.outbound.client import Outbound
from app.services.about import memory_of_extras
from app.services.accounts import Accounts
from app.services.counting import Bookkeeping, Counts
from app.services.fetching import Fetching
from app.services.health import Health
from app.services.jobs import Jobs
from app.services.limiter import Limiter
from app.services.limits import Limits
from app.services.mattes import Mattes, model_name
from app.services.networks import OtherModels
from app.services.parts import impatient_redis, make_batches, make_health
from app.services.precedence import Nobody
from app.services.processing import Processing
from app.services.pulse import Pulse
from app.storage.s3 import S3Store
from app.tasks.memory import MemoryLimit
from app.tasks.publishing import BackgroundBell, Publisher
from app.tasks.turns import GoingFirst, TakingTurns, turn

log = get_logger(__name__)


class Runtime:
    """Everything that this child works with."""

    def __init__(self, settings: Settings, capacity: Capacity) -> None:
        begun = time.perf_counter()
        cv2.setNumThreads(1)
        self._settings = settings
        self._db = make_engine(settings.sqlalchemy_url, pool_size=3, max_overflow=1)
        self._sessions = sessions = make_sessions(self._db)
        process = f"{socket.gethostname()}:{os.getpid()}"
        # The main process has made sure of them, before it took any work.
        weights = where_weights_are(settings.model_cache_dir, settings.model_path)
        loaded, reason = load(
            settings.engine,
            weights,
            capacity.threads,
            settings.model_cache_dir,
            lambda wish, error: log.warning("engine_passed_over", engine=wish, error=str(error)),
        )
        engine = TakingTurns(loaded, settings.log_dir, capacity.runs)
        # The first run of a network allocates its memory: better now than in somebody's request.
        engine.infer(np.zeros(INPUT_SHAPE, np.float32))
        runs = f"{engine.name} {engine.precision}: {reason}"
        self._pulse = Pulse(sessions, process, settings.timing, lambda: runs + _missing(settings))
        self._publisher = Publisher(settings)
        self._counts = counts = Counts()
        self._bookkeeping = Bookkeeping(counts, sessions, settings.timing.heartbeat)
        self._bookkeeping.start()
        self._bell = BackgroundBell(self._publisher, sessions, counts, by="worker")
        self._bell.start()
        self._store = store = S3Store(settings)
        self.processing = Processing(
            settings=settings,
            sessions=sessions,
            store=store,
            engine=engine,
            fetching=Fetching(settings, sessions, store, Outbound(settings), self._bell),
            mattes=Mattes(sessions, store, model_name(settings.model_path), settings.timing.soft_limit),
            pulse=self._pulse,
            bell=self._bell,
            metrics=MetricsLog(settings.log_dir),
            counts=counts,
            worker=process,
            timeouts=(SoftTimeLimitExceeded,),
            precedence=GoingFirst(settings.log_dir) if capacity.runs == 1 else Nobody(),
            others=OtherModels(settings.extra_models, partial(_load_other, settings, capacity)),
        )
        largest, share = memory_of_extras(settings), usable_memory() // capacity.children
        self.memory = MemoryLimit(settings.worker_memory_limit_bytes, settings.max_image_pixels, largest, share)
        # Only a warm child counts as one.
        self._pulse.start()
        log.info(
            "worker_warm",
            engine=engine.name,
            precision=engine.precision,
            reason=reason,
            **asdict(capacity),
            seconds=round(time.perf_counter() - begun, 2),
        )

    @cached_property
    def jobs(self) -> Jobs:
        limiter = Limiter(self._settings.redis_url.get_secret_value(), self._counts)
        limits = Limits(self._settings, limiter, self._counts)
        batches = make_batches(self._settings, self._sessions, self._store, self._bell, limits)
        accounts = Accounts(self._settings, self._sessions)
        return Jobs(self._sessions, accounts, batches, timeouts=(SoftTimeLimitExceeded,))

    @cached_property
    def health(self) -> Health:
        pinged = impatient_redis(self._settings)
        return make_health(self._settings, self._sessions, self._store, pinged, self._publisher.ready)

    def close(self) -> None:
        self._pulse.stop()
        self._bell.close()
        self._bookkeeping.close()
        self._publisher.close()
        self._db.dispose()


def _load_other(settings: Settings, capacity: Capacity, entry: ModelEntry) -> Engine:
    """One of EXTRA_MODELS, as the main process has fetched it, or somebody has put it there."""
    path = where_model_is(settings.model_cache_dir, entry)
    verify_model(path, entry)
    with turn(settings.log_dir, "start"):
        loaded = load_other(settings.engine, path, capacity.threads, settings.model_cache_dir, entry.side)
    return TakingTurns(loaded, settings.log_dir, capacity.runs)


def _missing(settings: Settings) -> str:
    """For those who ask what works here: which of EXTRA_MODELS are not there, or not yet."""
    paths = {name: where_model_is(settings.model_cache_dir, MODELS[name]) for name in settings.extra_models}
    # Not `Path.exists`, which raises for a disk that is away: this is asked for at every heartbeat.
    names = [name for name, path in paths.items() if not os.path.exists(path)]  # noqa: PTH110
    return f"; without {', '.join(names)}, not fetched" if names else ""
