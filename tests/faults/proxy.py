"""A TCP proxy that misbehaves on demand: what a network does to those who talk over it.

All proxies of a test run in one asyncio loop, in a process of their own.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
CHUNK = 65_536
REQUEST = re.compile(rb"[A-Z]{3,7} \S+ HTTP/1\.1\r\n")
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
DROP = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close() sends a RST


@dataclass(frozen=True)
class Toxic:
    """What is done to the connections of a proxy, old and new, in both directions. The default does no harm.

    `latency` and `jitter` in seconds, for each piece of data; `bandwidth` in bytes a second; `black_hole`: connections
    are accepted, and nothing comes through until the toxic is gone; `reset`: every connection ends with a RST;
    `refuse`: so do those that are open, and the port is closed; `errors`: the share of HTTP requests that are answered
    503 by the proxy, 0 to 1.
    """

    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: int | None = None
    black_hole: bool = False
    reset: bool = False
    refuse: bool = False
    errors: float = 0.0


HEALTHY = Toxic()


class _Proxy:
    """One port in front of another. Lives in the loop."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._toxic = HEALTHY
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def set(self, toxic: Toxic) -> None:
        self._toxic = toxic
        # Whoever waits in a black hole looks again.
        self._changed.set()
        self._changed = asyncio.Event()
        if toxic.refuse:
            self._close_port()
        elif self._server is None:
            await self.listen()
        if toxic.refuse or toxic.reset:
            self._reset_all()

    def _close_port(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _reset_all(self) -> None:
        for writer in list(self._open):
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both directions of one connection, until both have ended or one has failed."""
        self._open.add(writer)
        upwards: asyncio.StreamWriter | None = None
        try:
            if self._toxic.reset or self._toxic.refuse:
                return
            downwards, upwards = await asyncio.open_connection(HOST, self._upstream)
            self._open.add(upwards)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, upwards, answer_to=writer))
                both.create_task(self._pump(downwards, writer))
            for each in (writer, upwards):  # both have said all there was to say: what is on its way still gets there
                each.close()
                await each.wait_closed()
        except* OSError:
            pass  # one side is gone, or was never there: the other one learns it by a RST
        finally:
            for each in filter(None, (writer, upwards)):
                self._open.discard(each)
                _reset(each)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer_to: asyncio.StreamWriter | None = None,
    ) -> None:
        while data := await reader.read(CHUNK):
            await self._suffer(len(data))
            if answer_to is not None and self._is_refused(data):
                answer_to.write(UNAVAILABLE)
                answer_to.close()
                await answer_to.wait_closed()
                raise ConnectionAbortedError
            writer.write(data)
            await writer.drain()
        await self._suffer(0)
        writer.write_eof()

    async def _suffer(self, size: int) -> None:
        while self._toxic.black_hole:
            await self._changed.wait()
        toxic = self._toxic
        if toxic.reset or toxic.refuse:
            raise ConnectionResetError
        delay = toxic.latency + random.uniform(-toxic.jitter, toxic.jitter)  # noqa: S311 - it is only noise
        if toxic.bandwidth:
            delay += size / toxic.bandwidth
        if delay > 0:
            await asyncio.sleep(delay)

    def _is_refused(self, data: bytes) -> bool:
        return random.random() < self._toxic.errors and REQUEST.match(data) is not None  # noqa: S311


def _reset(writer: asyncio.StreamWriter) -> None:
    """End the connection. One that has been closed in order already is not harmed."""
    if (made := writer.get_extra_info("socket")) is not None:
        with contextlib.suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, DROP)
    writer.transport.abort()


class Proxies:
    """A proxy in front of each of these ports of this machine, by name.

    They are a process of their own: what keeps a test busy must not slow down those who are tested.
    """

    def __init__(self, upstreams: Mapping[str, int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()
        self.ports: Mapping[str, int] = self._ask(dict(upstreams))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate(timeout=10)  # the end of its input is the end of it

    def set(self, name: str, toxic: Toxic) -> None:
        """From now on; it has taken effect when this returns."""
        self._ask({"name": name, "toxic": asdict(toxic)})

    def heal(self) -> None:
        """Do no more harm to anybody."""
        for name in self.ports:
            self.set(name, HEALTHY)

    def _ask(self, question: dict[str, Any]) -> dict[str, int]:
        sending, answers = self._process.stdin, self._process.stdout
        if sending is None or answers is None:
            raise AssertionError("the proxies have no pipes")
        with self._lock:
            sending.write(json.dumps(question) + "\n")
            sending.flush()
            answer: dict[str, int] = json.loads(answers.readline())
        return answer


async def _main() -> None:
    """A line of the ports that are asked for, then one for each toxic; each is answered with a line."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    proxies = {name: _Proxy(port) for name, port in json.loads(await lines.readline()).items()}
    for proxy in proxies.values():
        await proxy.listen()
    _answer({name: proxy.port for name, proxy in proxies.items()})
    while line := await lines.readline():
        asked = json.loads(line)
        await proxies[asked["name"]].set(Toxic(**asked["toxic"]))
        _answer({})
    os._exit(0)  # whatever is still open ends with it


def _answer(said: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main())
