"""Who goes first at the cores of a machine: pictures that somebody waits for, before those of batches."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Precedence(Protocol):
    """Between the workers' children of one machine."""

    def going_first(self) -> AbstractContextManager[None]:
        """For as long as this lasts, the others give way."""
        ...

    def give_way(self) -> None:
        """Wait, for a moment at most, as long as somebody goes first."""
        ...


class Nobody:
    """Where nobody has to wait for anybody."""

    @contextmanager
    def going_first(self) -> Iterator[None]:
        yield

    def give_way(self) -> None:
        return
