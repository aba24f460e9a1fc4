"""A stopping API serves on for a while, and says on `/readyz` that no new requests should be sent its way."""

import asyncio
import signal
import threading
from types import FrameType

from app.core.logging import get_logger

log = get_logger(__name__)


class Drain:
    """Stands before the server's own handler of SIGTERM; SIGQUIT, the workers' signal, does the same.

    A load balancer needs this time to learn of it: a server that closes its door at once refuses what is on the way.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._active = False

    def is_active(self) -> bool:
        return self._active

    def install(self) -> None:
        """Call it when the server has set its handlers, in its event loop. Outside of a server it does nothing."""
        stop = signal.getsignal(signal.SIGTERM)
        if not callable(stop) or threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()

        def begin(number: int, frame: FrameType | None) -> None:
            if self._active or not self._seconds:
                stop(signal.SIGTERM, frame)  # told a second time: at once
                return
            self._active = True
            log.info("drain_begun", seconds=self._seconds)
            loop.call_soon_threadsafe(loop.call_later, self._seconds, stop, signal.SIGTERM, None)

        for number in (signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, begin)
