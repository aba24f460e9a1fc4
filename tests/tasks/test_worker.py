"""What a worker refuses to start with."""

import os
import subprocess
import sys

from app.core.config import PROJECT_ROOT
from app.tasks.memory import LARGEST_FILE


def test_a_gpu_that_is_asked_for_and_not_there_ends_the_worker_with_a_sentence(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "app.tasks.celery_app", "worker"],
        cwd=PROJECT_ROOT / "backend",
        env=os.environ | environment | {"ENGINE": "cuda", "MODEL_CACHE_DIR": str(PROJECT_ROOT / "var" / "models")},
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 78
    assert "ENGINE=cuda does not work on this machine: No GPU can be used" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_child_does_not_outlive_its_threads() -> None:
    """A pulse that has died in want of memory would leave a child whose every task is taken away from it."""
    code = """
import threading
from app.tasks import worker

threading.excepthook = worker._end_with
threading.Thread(target=lambda: 1 / 0, name="pulse").start()
threading.Event().wait(60)
"""
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False, timeout=50)
    assert done.returncode == 1
    assert "thread_died" in done.stdout


def test_a_child_is_limited_before_it_loads_anything(environment: dict[str, str]) -> None:
    code = """
import resource
from app.tasks import worker

try:
    worker._build()
except SystemExit:
    print(resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_FSIZE)[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT / "backend",
        env=os.environ | environment | {"ENGINE": "cuda", "MODEL_CACHE_DIR": str(PROJECT_ROOT / "var" / "models")},
        text=True,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == f"(0, 0) {LARGEST_FILE}"
