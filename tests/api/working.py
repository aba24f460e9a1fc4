"""A worker beside the test: whatever is queued is worked on, so that those who wait get something."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select

from app.db.models import Task
from tests.services.test_processing import Bench

PAUSE = 0.02  # seconds


@contextmanager
def working(bench: Bench) -> Iterator[None]:
    stopped = threading.Event()

    def work() -> None:
        while not stopped.wait(PAUSE):
            with bench.sessions.begin() as session:
                due = session.scalars(select(Task.id).where(Task.is_due()).order_by(Task.created_at)).all()
            for task_id in due:
                bench.process(task_id)

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
