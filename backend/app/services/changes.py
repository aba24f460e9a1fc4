"""Who waits for which task, and the one thread that wakes them when it changes."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import socket, socketpair
from uuid import UUID

import psycopg

from app.core.errors import ServiceUnavailable
from app.core.logging import get_logger
from app.db.changes import listen

MAX_WAITS = 256
MAX_WAITS_OF_ACCOUNT = 16
PAUSE = 1.0  # seconds before a lost connection is made anew
RHYTHM = 5.0  # seconds after which a waiter looks by itself, in case a word was lost
RHYTHM_UNTOLD = 1.0  # the same while nobody can tell

Wake = Callable[[], None]

log = get_logger(__name__)


class TooManyWaiting(ServiceUnavailable):
    """Every wait holds a connection open: the process, and each account, has only so many."""

    code = "too_many_waiting"


class Changes:
    """The places of those who wait, and the thread. A word only wakes: what has changed, the waiter sees himself."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._waits: dict[UUID, set[Wake]] = {}
        self._accounts: Counter[UUID] = Counter()
        self._connected = False
        self._ended = False
        self._stop: socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def connected(self) -> bool:
        """Whether changes are heard of just now."""
        return self._connected

    @property
    def ended(self) -> bool:
        """Whether nobody is to wait any more."""
        return self._ended

    @property
    def rhythm(self) -> float:
        """In how many seconds a waiter should look by himself."""
        return RHYTHM if self._connected else RHYTHM_UNTOLD

    def __len__(self) -> int:
        """How many wait."""
        with self._lock:
            return self._accounts.total()

    def start(self) -> None:
        self._stop, stopped = socketpair()
        self._thread = threading.Thread(target=self._run, args=(stopped,), name="changes", daemon=True)
        self._thread.start()

    def end_waits(self) -> None:
        """Wake everybody for the last time."""
        self._ended = True
        self._wake_all()

    def close(self) -> None:
        """End the waits and the thread."""
        self.end_waits()
        if self._stop is not None and self._thread is not None:
            self._stop.close()  # its other end can be read now
            self._thread.join(timeout=5)

    @contextmanager
    def waiting(self, task_id: UUID, user_id: UUID, wake: Wake) -> Iterator[None]:
        """A place for as long as the block runs; `wake` is called by another thread. Raises `TooManyWaiting`."""
        with self._lock:
            if self._accounts.total() >= MAX_WAITS or self._accounts[user_id] >= MAX_WAITS_OF_ACCOUNT:
                raise TooManyWaiting("Too many requests wait for tasks already. Please ask again without waiting.")
            self._accounts[user_id] += 1
            self._waits.setdefault(task_id, set()).add(wake)
        try:
            yield
        finally:
            with self._lock:
                self._accounts[user_id] -= 1
                if not self._accounts[user_id]:
                    del self._accounts[user_id]
                self._waits[task_id].discard(wake)
                if not self._waits[task_id]:
                    del self._waits[task_id]

    def _run(self, stopped: socket) -> None:
        with stopped:
            stopped.settimeout(PAUSE)
            while not self._ended:
                self._listen(stopped)
                self._connected = False
                with suppress(TimeoutError):
                    stopped.recv(1)

    def _listen(self, stopped: socket) -> None:
        """For as long as the connection holds."""
        try:
            for task_id in listen(self._url, stopped):
                if task_id is None:
                    self._connected = True
                    self._wake_all()  # for what was missed before
                else:
                    self._wake(task_id)
        except psycopg.Error as error:
            log.warning("changes_unheard", error=type(error).__name__)
        except Exception:  # a fault of ours: waiters look by themselves, and it is tried again
            log.exception("changes_crashed")

    def _wake(self, task_id: UUID) -> None:
        with self._lock:
            wakes = list(self._waits.get(task_id, ()))
        for wake in wakes:
            wake()

    def _wake_all(self) -> None:
        with self._lock:
            wakes = [wake for waits in self._waits.values() for wake in waits]
        for wake in wakes:
            wake()
