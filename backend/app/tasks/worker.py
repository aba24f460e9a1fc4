"""A worker's life: what its main process checks before it takes work, and what each child brings up and down.

The main process stays light: the engine and its libraries are imported in the children alone.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery.signals import (
    celeryd_init,
    setup_logging,
    task_postrun,
    task_received,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutting_down,
)
from celery.worker import state
from structlog.contextvars import clear_contextvars

from app.core.capacity import Capacity
from app.core.config import PROJECT_ROOT, Settings, load_settings
from app.core.logging import configure_logging, get_logger
from app.db import overview
from app.db.base import Sessions, make_engine, make_sessions
from app.imaging.errors import EngineUnavailable, ModelUnavailable
from app.imaging.models import MODELS
from app.imaging.weights import ensure_model, ensure_weights
from app.services.about import ModelRefused, memory_of_extras, require_licence
from app.tasks import deaths
from app.tasks.celery_app import TASK
from app.tasks.memory import limit_files
from app.tasks.publishing import Publisher
from app.tasks.watchdog import Watchdog

if TYPE_CHECKING:
    from app.tasks.runtime import Runtime

# One thread for each library that would otherwise make a pool of its own; the engine gets its threads by argument.
SINGLE_THREADED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# Left to itself, glibc gives each large buffer back to the kernel, and takes new pages for the next picture: a tenth of
# all the time with 12 megapixels. Kept, they cost a child some 160 MB. Other C libraries do not read these.
KEEP_BUFFERS = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(2 << 30),
}

# On a machine that does everything, those who only ask are answered first.
NICE = 10

log = get_logger(__name__)

_runtime: "Runtime | None" = None


def runtime() -> "Runtime":
    """What this child was built with."""
    if _runtime is None:
        raise RuntimeError("This process is not a worker's child.")
    return _runtime


@setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    configure_logging(load_settings().log_level)


@celeryd_init.connect
def _prepare_children(options: dict[str, Any], **_: Any) -> None:
    # The children are new programs, and read these as they start; this process has started already.
    for name, value in (dict.fromkeys(SINGLE_THREADED, "1") | KEEP_BUFFERS).items():
        os.environ.setdefault(name, value)
    # `--concurrency` is for the children to know, too: they share the cores.
    if options.get("concurrency"):
        os.environ["WORKER_CONCURRENCY"] = str(options["concurrency"])


@worker_init.connect
def _check_before_work(**_: Any) -> None:
    """Refuse to start rather than fail every image: Celery swallows errors, but not an exit."""
    settings = load_settings()
    try:
        require_licence(settings)
        weights = ensure_weights(settings.model_cache_dir, settings.model_path)
        if settings.engine != "auto":
            _try_engine(settings, weights)
    except (ModelRefused, ModelUnavailable, EngineUnavailable) as error:
        log.error("worker_refused", reason=str(error))
        raise SystemExit(78) from error
    # By the way: without them the worker has enough to do.
    threading.Thread(target=_fetch_others, args=(settings,), name="models", daemon=True).start()


def _fetch_others(settings: Settings) -> None:
    for name in settings.extra_models:
        try:
            ensure_model(settings.model_cache_dir, MODELS[name])
        except ModelUnavailable as error:
            log.error("model_not_fetched", model=name, reason=str(error))


@worker_init.connect
def _watch_children(**_: Any) -> None:
    settings = load_settings()
    deaths.taking_back = deaths.TakingBack(_sessions(settings), settings.timing, settings.task_retry_delay_seconds)
    deaths.taking_back.start()


@worker_ready.connect
def _watch_consumer(sender: Any, **_: Any) -> None:
    """`sender`: Celery's consumer."""
    settings = load_settings()
    sessions, publisher = _sessions(settings), Publisher(settings)
    children, queues = sender.pool.num_processes, frozenset(sender.app.amqp.queues.consume_from)
    received = [0]

    def ready() -> int:
        return sum(messages for queue, messages in publisher.ready().items() if queue in queues)

    def oldest_due() -> float | None:
        with sessions.begin() as session:
            return overview.queue_facts(session)[1]

    watchdog = Watchdog(
        settings.timing,
        received=lambda: received[0],
        has_room=lambda: len(state.reserved_requests) < children,
        ready=ready,
        oldest_due=oldest_due,
    )

    def count(**_: Any) -> None:
        received[0] += 1

    def stop(**_: Any) -> None:
        watchdog.stop()  # a worker that is told to stop is meant to be deaf

    task_received.connect(count, weak=False)
    worker_shutting_down.connect(stop, weak=False)
    watchdog.start()


def _sessions(settings: Settings) -> Sessions:
    """The main process's: connected when first used, after the children were started as programs of their own."""
    return make_sessions(make_engine(settings.sqlalchemy_url, pool_size=1, max_overflow=0))


def _try_engine(settings: Settings, weights: Path) -> None:
    """Raise `EngineUnavailable` when the one asked for does not work here; found out in a process of its own."""
    module = "app.imaging.engines.choice"
    command = [sys.executable, "-m", module, settings.engine, str(weights), str(settings.model_cache_dir)]
    tried = subprocess.run(  # noqa: S603 - our own words
        command, cwd=PROJECT_ROOT / "backend", capture_output=True, text=True, check=False
    )
    if tried.returncode:
        said = tried.stderr.strip().splitlines()[-1:] or [f"it ended with {tried.returncode}"]
        raise EngineUnavailable(f"ENGINE={settings.engine} does not work on this machine: {said[0]}")


@worker_process_init.connect
def _build(**_: Any) -> None:
    global _runtime
    settings = load_settings()
    threading.excepthook = _end_with
    limit_files()
    os.nice(NICE)
    try:
        # Here, so that the main process never loads the engine.
        from app.tasks.turns import turn  # noqa: PLC0415

        with turn(settings.log_dir, "start"):
            from app.tasks.runtime import Runtime  # noqa: PLC0415

            capacity = Capacity.of_this_machine(settings.worker_concurrency, memory_of_extras(settings))
            _runtime = Runtime(settings, capacity)
    except Exception as error:
        # Celery would swallow the error and let this child fail every image; it exits, and another one tries.
        log.exception("worker_child_failed")
        raise SystemExit(1) from error


def _end_with(args: threading.ExceptHookArgs) -> None:
    """A child without its pulse is none. In want of memory the thread may fail that was not at fault."""
    log.error("thread_died", thread=getattr(args.thread, "name", None), error=repr(args.exc_value))
    os._exit(1)


@worker_process_shutdown.connect
def _take_down(**_: Any) -> None:
    if _runtime is not None:
        _runtime.close()


@task_postrun.connect
def _end_task(task: Any, **_: Any) -> None:
    clear_contextvars()
    # Only after a picture: what follows in Celery's hands is not to be lost of a message that is the only record.
    if task.name == TASK and _runtime is not None and _runtime.memory.is_spent():
        log.warning("child_retired", reason="memory")
        sys.exit(deaths.RETIRED)
