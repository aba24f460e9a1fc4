"""Connections under a deadline, to addresses that have been checked: the network under httpcore."""

import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from socket import SOCK_STREAM, getaddrinfo
from threading import BoundedSemaphore, Thread
from typing import Any

import httpcore2

LOOKUPS = 16  # at a time; one that hangs keeps its place until the system gives it up

Lookup = Callable[[str, int], Sequence[str]]
Permits = Callable[[str, int], bool]


class Refused(Exception):
    """The connection or the answer is not one that we take; for the log, never for the caller."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


class Deadline:
    """The time that all of a request has, whatever the other side does within it."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, most: float | None = None) -> float:
        """Seconds that are left, or `most` of them; raises `Refused` when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Refused("deadline")
        return left if most is None else min(left, most)


def system_lookup(host: str, port: int) -> Sequence[str]:
    """Every address of a name, as the system resolves it. Blocks for as long as the system likes."""
    # Bytes, because Python would encode a str by an IDNA of its own.
    found = getaddrinfo(host.encode("ascii"), port, type=SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """Looks names up in threads of its own, so that a name server that hangs holds nobody beyond his deadline."""

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        self._places = BoundedSemaphore(LOOKUPS)

    def addresses(self, host: str, port: int, deadline: Deadline) -> Sequence[str]:
        """Every address of a name; `Refused` when there is none, or none in time."""
        if not self._places.acquire(timeout=deadline.left()):
            raise Refused("too many lookups hang")
        answer: Future[Sequence[str]] = Future()
        # A daemon: the process does not wait for it when it ends.
        Thread(target=self._work, args=(answer, host, port), name="lookup", daemon=True).start()
        try:
            return answer.result(timeout=deadline.left())
        except (OSError, ValueError) as error:  # also a time-out
            raise Refused(f"lookup: {type(error).__name__}") from error

    def _work(self, answer: Future[Sequence[str]], host: str, port: int) -> None:
        try:
            answer.set_result(self._lookup(host, port))
        except Exception as error:
            answer.set_exception(error)
        finally:
            self._places.release()


class CheckedNetwork(httpcore2.NetworkBackend):
    """Resolves a name once, asks `permits` about every address, and connects to one of these and to nothing else."""

    def __init__(
        self, resolver: Resolver, permits: Permits, deadline: Deadline, below: httpcore2.NetworkBackend
    ) -> None:
        self._resolver, self._permits, self._deadline, self._below = resolver, permits, deadline, below

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        addresses = self._resolver.addresses(host, port, self._deadline)
        if not addresses:
            raise Refused("no address")
        # One bad address spoils them all: a name that leads inside and outside is no honest one.
        if not all(self._permits(address, port) for address in addresses):
            raise Refused("address")
        for number, address in enumerate(addresses, 1):
            try:
                stream = self._below.connect_tcp(
                    address, port, self._deadline.left(timeout), local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if number == len(addresses):
                    raise
                continue
            return self._of_peer(stream, port)
        raise AssertionError("unreachable")

    def _of_peer(self, stream: httpcore2.NetworkStream, port: int) -> httpcore2.NetworkStream:
        """Before a byte is sent: whom does the system say that we are connected to?"""
        try:
            peer = str(stream.get_extra_info("server_addr")[0])
        except OSError:  # it has hung up already
            peer = "nobody"
        if not self._permits(peer, port):
            stream.close()
            raise Refused("peer")
        return TimedStream(stream, self._deadline)


class TimedStream(httpcore2.NetworkStream):
    """A connection whose every wait ends with the deadline: httpcore's time-outs begin anew with each byte."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        inner = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left(timeout))
        return TimedStream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
