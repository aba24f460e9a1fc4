"""How often: a sliding window in Redis for each key, and in this process while Redis is away.

The windows are those of `limits`. Two counters with an expiry make one: that is 40 bytes for a limit of any size, and
what is used is off by little. Whether there is room and how much is left come back in one round trip.
"""

import threading
import time
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import redis
from limits.storage import MemoryStorage, RedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.core.logging import get_logger
from app.services.counting import RATE_LIMIT_FALLBACKS, Counts

WINDOW = 60  # seconds
PATIENCE = 0.1  # seconds that Redis has for an answer
BREAK = 5.0  # seconds without a try after it failed
PREFIX = "quickbg:limit:"

# The library's two scripts one after the other; each is the whole body of a function.
SCRIPT = f"""
local function take(KEYS, ARGV) {RedisStorage.SCRIPT_ACQUIRE_SLIDING_WINDOW.decode()} end
local function look(KEYS, ARGV) {RedisStorage.SCRIPT_SLIDING_WINDOW.decode()} end
local taken = take(KEYS, ARGV)
return {{taken and 1 or 0, unpack(look(KEYS, {{ARGV[2]}}))}}
"""

log = get_logger(__name__)


@dataclass(frozen=True)
class Window:
    """What was taken in the window before, which counts less and less, and in this one; seconds until each is gone."""

    previous: int
    previous_left: float
    current: int
    current_left: float
    seconds: int = WINDOW

    def used(self, after: float = 0.0) -> int:
        """What counts `after` so many seconds in which nothing is taken."""
        if after < self.turn:
            return floor(self.previous * max(0.0, self.previous_left - after) / self.seconds) + self.current
        return floor(self.current * max(0.0, self.current_left - after) / self.seconds)

    @property
    def turn(self) -> float:
        """Seconds until this window becomes the one before."""
        return max(0.0, self.current_left - self.seconds)

    def wait(self, limit: int, cost: int) -> int:
        """Whole seconds until `cost` can be taken, if nothing else is. `cost` is at most `limit`."""
        room = limit - cost - self.current
        if room >= 0:
            # The first moment at which less than `room + 1` of the window before counts.
            return 1 + floor(max(0.0, self.previous_left - self.seconds * (room + 1) / max(1, self.previous)))
        return 1 + floor(max(self.turn, self.current_left - self.seconds * (limit - cost + 1) / self.current))


@dataclass(frozen=True)
class Taken:
    """Whether there was room, and what is left; `wait` in seconds: until there is room, or until there is more."""

    allowed: bool
    left: int
    wait: int


class Limiter:
    """Blocks on Redis for `PATIENCE` and a little: call it from a thread."""

    def __init__(self, url: str, counts: Counts) -> None:
        self._redis = redis.Redis.from_url(
            url, socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE, retry=Retry(NoBackoff(), 0)
        )
        self._script = self._redis.register_script(SCRIPT)
        self._own = MemoryStorage()
        self._counts = counts
        self._lock = threading.Lock()
        self._failed = False
        self._quiet_until = 0.0

    def take(self, key: str, limit: int, cost: int = 1, *, seconds: int | None = None) -> Taken:
        """Take `cost` of what the key may have in so many seconds (`WINDOW`), if there is so much; 0 only looks.

        What would never fit takes a whole window.
        """
        cost, seconds = min(cost, limit), seconds or WINDOW
        found = self._shared(key, limit, cost, seconds) if self._asks() else None
        if found is None:
            self._counts.add(RATE_LIMIT_FALLBACKS)
            found = self._alone(key, limit, cost, seconds)
        allowed, window = found
        wait = ceil(window.turn) or seconds if allowed else window.wait(limit, cost)
        return Taken(allowed, max(0, limit - window.used()), wait)

    def close(self) -> None:
        self._redis.close()

    def _asks(self) -> bool:
        """Whether this call asks Redis. After a failure nobody does for a while, and then one for all."""
        with self._lock:
            now = time.monotonic()
            if now < self._quiet_until:
                return False
            if self._failed:
                self._quiet_until = now + BREAK
            return True

    def _shared(self, key: str, limit: int, cost: int, seconds: int) -> tuple[bool, Window] | None:
        name = f"{PREFIX}{{{key}}}"
        try:
            answer: Any = self._script([f"{name}/before", name], [limit, seconds, cost])
        except redis.RedisError as error:
            self._fail(error)
            return None
        if self._failed:
            self._failed, self._quiet_until = False, 0.0
            log.info("rate_limits_shared_again")
        taken, previous, previous_left, current, current_left = answer
        window = Window(
            int(previous or 0), max(0, previous_left) / 1000, int(current or 0), max(0, current_left) / 1000, seconds
        )
        return bool(taken), window

    def _fail(self, error: Exception) -> None:
        with self._lock:
            before, self._failed = self._failed, True
            self._quiet_until = time.monotonic() + BREAK
        if not before:
            log.warning("rate_limits_kept_in_process", error=type(error).__name__)

    def _alone(self, key: str, limit: int, cost: int, seconds: int) -> tuple[bool, Window]:
        with self._lock:  # the library's own locks let two threads start one timer
            taken = self._own.acquire_sliding_window_entry(key, limit, seconds, cost)
            return taken, Window(*self._own.get_sliding_window(key, seconds), seconds)
