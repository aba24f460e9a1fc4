"""Servers on loopback that speak as they are told, and an internet that leads to them."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import httpcore2

from app.core.config import Settings
from app.outbound.client import Outbound
from app.outbound.network import Deadline, TimedStream
from tests.conftest import TestSettings

PUBLIC = "93.184.215.14"
REQUIRED: Mapping[str, Any] = {
    "secret_key": "0" * 20 + "1" * 20,
    "database_url": "postgresql://u:p@127.0.0.1/none_test",
    "redis_url": "redis://127.0.0.1",
}
Answer = Callable[[socket.socket, bytes], None]  # the connection, and its request


class Site:
    """A server. It counts its connections, keeps the requests, and hangs up after each answer."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self._answer, self._tls = answer, tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.requests: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/picture.png"

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError), self._secured(connection) as connection:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (chunk := connection.recv(65_536)):
                    return
                head += chunk
            head, end, body = head.partition(b"\r\n\r\n")
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length: "):
                    while len(body) < int(line[16:]):
                        body += connection.recv(65_536)
            head += end + body
            self.requests.append(head)
            self._answer(connection, head)

    def _secured(self, connection: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(connection, server_side=True) if self._tls else connection

    def close(self) -> None:
        # `close` alone does not wake the thread that accepts.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def saying(*parts: bytes) -> Answer:
    """An answer, word for word."""

    def answer(connection: socket.socket, head: bytes) -> None:
        for part in parts:
            connection.sendall(part)

    return answer


def ok(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def to(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Onward\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@contextmanager
def site(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    running = Site(answer, tls)
    try:
        yield running
    finally:
        running.close()


class Internet(httpcore2.NetworkBackend):
    """Some addresses and ports are sites of ours; whoever connects anywhere else meets the canary."""

    def __init__(
        self, canary: Site, sites: Mapping[tuple[str, int], Site] | None = None, *, honest_peers: bool = False
    ) -> None:
        self._canary, self._sites, self._honest = canary, sites or {}, honest_peers

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        there = self._sites.get((host, port), self._canary)
        stream = httpcore2.SyncBackend().connect_tcp("127.0.0.1", there.port, timeout)
        return stream if self._honest else _At(stream, host, port)


class _At(TimedStream):
    """A connection that says it leads to another address."""

    def __init__(self, stream: httpcore2.NetworkStream, host: str, port: int) -> None:
        super().__init__(stream, Deadline(60))
        self._peer = host, port

    def get_extra_info(self, info: str) -> Any:
        return self._peer if info == "server_addr" else super().get_extra_info(info)


def settings(**changes: object) -> Settings:
    return TestSettings.model_validate({**REQUIRED, **changes})


def open_to_loopback(**options: Any) -> Outbound:
    """Our way out, where loopback is allowed: for servers that misbehave."""
    return Outbound(settings(outbound_allowed_networks="127.0.0.0/8"), **options)


def numeric(host: str) -> Sequence[str]:
    """What the system makes of a host that is a number; nobody is asked."""
    found = socket.getaddrinfo(host.encode(), 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [str(entry[4][0]) for entry in found]
