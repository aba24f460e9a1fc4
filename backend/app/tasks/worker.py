"""A worker's life: what its main process checks before it takes work, and what each child brings up and down.

The main process stays light: the engine and its libraries are imported in the children alone.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery.signals import (
    celeryd_init,
    setup_logging,
    task_postrun,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
)
from structlog.contextvars import clear_contextvars

from app.core.capacity import Capacity
from app.core.config import PROJECT_ROOT, Settings, load_settings
from app.core.logging import configure_logging, get_logger
from app.imaging.errors import EngineUnavailable, ModelUnavailable
from app.imaging.weights import ensure_weights
from app.services.about import ModelRefused, require_licence

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
    try:
        # Here, so that the main process never loads the engine.
        from app.tasks.turns import turn  # noqa: PLC0415

        with turn(settings.log_dir, "start"):
            from app.tasks.runtime import Runtime  # noqa: PLC0415

            _runtime = Runtime(settings, Capacity.of_this_machine(settings.worker_concurrency))
    except Exception as error:
        # Celery would swallow the error and let this child fail every image; it exits, and another one tries.
        log.exception("worker_child_failed")
        raise SystemExit(1) from error


@worker_process_shutdown.connect
def _take_down(**_: Any) -> None:
    if _runtime is not None:
        _runtime.close()


@task_postrun.connect
def _forget_context(**_: Any) -> None:
    clear_contextvars()
