"""The doorbell: what a use case needs of the queue."""

from typing import Protocol
from uuid import UUID


class Bell(Protocol):
    """Tells the workers that a task waits. Never blocks and never raises: the row is the queue, and the sweeper
    rings for whatever was not heard."""

    def ring(self, task_id: UUID, queue: str) -> None:
        """Ring for a task that has just come in."""
        ...

    def ring_next(self, user_id: UUID, queue: str) -> None:
        """Ring for the account's longest waiting task, if there is one that nobody has rung for."""
        ...
