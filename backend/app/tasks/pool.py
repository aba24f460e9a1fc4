"""Celery's pool of child processes, with a quicker look at who is dead.

A child's pipe closes a moment before the system calls the child dead. Celery looks once, at that moment, often finds it
alive still, and looks again 5 seconds later.
"""

from collections.abc import Callable, Mapping

from celery.concurrency import asynpool, prefork

LOOK = 0.5  # seconds


class Pool(asynpool.AsynPool):  # type: ignore[misc]  # Celery carries no types
    @property
    def timers(self) -> Mapping[Callable[[], None], float]:
        return {self.maintain_pool: LOOK}


class TaskPool(prefork.TaskPool):  # type: ignore[misc]
    Pool = Pool
