"""HTTP/1.1 as uvicorn speaks it, with bounds: on a request's head, on its time, and on what is read after an answer.

Named to the server by `api.server`. Whatever never reaches the application is answered with a problem document, too.
"""

import asyncio
from typing import Any, cast
from uuid import uuid4

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.api.errors import MEDIA_TYPE, document
from app.api.middleware import HEADERS
from app.core.logging import get_logger

MAX_HEAD = 32_768  # bytes of a request's line and headers together
HEAD_SECONDS = 10.0  # from the first byte, or from the connection on, until the head is there
MORE = 65_536  # bytes of a body that are still taken in, and thrown away, after the answer
MORE_SECONDS = 2.0
READ = 65_536  # bytes at a time
MAX_AHEAD = 16  # requests that a client may send before the first of them is answered
VERSIONS = frozenset({"1.1", "1.0"})

# One for all connections: what is read into it is copied out of it before the loop turns to the next.
_buffer = memoryview(bytearray(READ))

MALFORMED = (400, "malformed_request", "This is not an HTTP request that can be read.")
TOO_LARGE = (431, "headers_too_large", f"The address and the headers may have {MAX_HEAD} bytes together.")
TOO_SLOW = (408, "request_timeout", f"The headers of a request have to be here within {HEAD_SECONDS:g} seconds.")
WRONG_VERSION = (505, "http_version_not_supported", "This server speaks HTTP/1.1 and HTTP/1.0.")
FULL = (503, "busy", "Too many connections are open at the moment. Please try again.")
STOPPING = (503, "draining", "This server is about to stop. Please try again.")

log = get_logger(__name__)


class Protocol(asyncio.BufferedProtocol):
    """One connection as the event loop sees it, which would read four times as much at a time unless told."""

    def __init__(self, **arguments: Any) -> None:
        self._http = Connection(**arguments)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._http.connection_made(cast(asyncio.Transport, transport))

    def connection_lost(self, exc: Exception | None) -> None:
        self._http.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _buffer[: self._http.wanted]

    def buffer_updated(self, nbytes: int) -> None:
        self._http.data_received(bytes(_buffer[:nbytes]))

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()


class Connection(HttpToolsProtocol):
    """One connection, in HTTP."""

    _head = 0  # bytes of the present head
    _silent = 0  # bytes since the parser last had something to say: it keeps a field that does not end
    _heard = False
    _in_head = False  # a request has begun, and its head is not complete
    _unasked = False  # its head is, and nobody has asked for its body yet
    _deaf = False  # nothing more is taken in; what was asked before is still answered
    _running: RequestResponseCycle | None = None  # the oldest that is not answered, or the last one that was
    _lingering: int | None = None  # bytes that came after the last answer
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_patience()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    @property
    def wanted(self) -> int:
        """How many bytes may be read next."""
        return READ if self._lingering is None else max(1, MORE - self._lingering)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._lingering is not None:
            self._lingering += len(data)
            if self._lingering >= MORE:
                self.transport.abort()
            return
        if self._deaf:
            return
        if self._patience is None and self._unanswered() is None:
            self._wait_for_head()
        self._heard = False
        super().data_received(data)
        self._silent = 0 if self._heard else self._silent + len(data)
        if self._silent > MAX_HEAD:
            self._refuse(*TOO_LARGE)
        if self._unasked:
            self._wait_until_asked()

    def _unsupported_upgrade_warning(self) -> None:
        self.cycle.keep_alive = False  # the parser takes what comes next for another protocol

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when the parser gives up."""
        if self._head > MAX_HEAD:
            self._refuse(*TOO_LARGE)
        elif self._in_head and self.parser.get_http_version() not in {*VERSIONS, "0.0"}:  # 0.0: not told
            self._refuse(*WRONG_VERSION)
        else:
            self._refuse(*MALFORMED)

    # What the parser says
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._heard, self._in_head, self._head = True, True, 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        if self._in_head:  # and no trailer, which nobody asked for
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        # An error here is one of the parser's to uvicorn, which then calls `send_400_response`.
        if (version := self.parser.get_http_version()) not in VERSIONS:
            raise ValueError("another version")
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            raise ValueError("one Host is expected")  # RFC 9112
        if any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in self.headers):
            raise ValueError("an encoding that is not taken off")
        if len(self.pipeline) >= MAX_AHEAD:
            raise ValueError("too many requests ahead of their answers")
        self._heard, self._in_head = True, False
        self._end_patience()
        if b"://" in self.url and httptools.parse_url(self.url).path is None:  # http://host is all there need be
            origin, _, query = self.url.partition(b"?")
            self.url = origin + b"/?" + query
        super().on_headers_complete()
        self._unasked = True

    def on_body(self, body: bytes) -> None:
        self._heard = True
        super().on_body(body)

    def _count(self, size: int) -> None:
        self._heard = True
        self._head += size
        if self._head > MAX_HEAD:
            raise ValueError("the head is too large")

    def _wait_until_asked(self) -> None:
        self._unasked = False
        if self.cycle.more_body and self._lingering is None:
            self.flow.pause_reading()  # the cycle resumes it when the application wants the body

    # The time of a head
    def _wait_for_head(self) -> None:
        self._patience = self.loop.call_later(HEAD_SECONDS, self._lose_patience)

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        self._patience = None
        if self.transport.is_closing() or self._lingering is not None:
            return
        if (cycle := self._unanswered()) is not None:
            cycle.keep_alive = False  # the head of the next one: that answer is the last
        elif self._in_head:
            self._refuse(*TOO_SLOW)
        else:
            self.transport.close()

    def _unanswered(self) -> RequestResponseCycle | None:
        cycle: Any = self.cycle  # none before the first request
        return None if cycle is None or cycle.response_complete else cycle

    # The end of an answer
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        cycle.transport = cast(asyncio.Transport, _Way(self, cycle))
        answered = _refusal(*FULL) if app is service_unavailable else app
        super()._start_asgi_task(cycle, cast(Any, _Answered(cycle, answered)))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._lingering is not None:
            self._unset_keepalive_if_required()

    def _refuse(self, status: int, code: str, sentence: str) -> None:
        """Answer in the place of the application, and close."""
        if self.transport.is_closing() or self._lingering is not None:
            return
        if self.pipeline:
            self._end_with_what_waits()
            return
        log.info("request_refused", status=status, error_code=code, client=self.client and self.client[0])
        if (cycle := self._unanswered()) is not None:
            if cycle.response_started:
                self.transport.abort()  # half an answer is out, and this must not look like the rest of it
                return
            cycle.disconnected = True
            cycle.message_event.set()
        head, body = _written(status, code, sentence)
        lines = [b"%s: %s\r\n" % (name, value) for name, value in head]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.linger()

    def _end_with_what_waits(self) -> None:
        """Answer those that were asked properly, in their order, and close: a refusal now would go for theirs."""
        self._deaf = True
        self._end_patience()
        while self.pipeline and self.pipeline[0][0].more_body:  # the newest; its rest will not come
            self.pipeline.popleft()
        last = self.pipeline[0][0] if self.pipeline else self._running
        if last is not None:
            last.keep_alive = False

    def may_be_sent_more(self, cycle: RequestResponseCycle) -> bool:
        """Whether the client of this last answer may still be sending."""
        return self._deaf or (cycle.more_body and cycle.response_complete)

    def linger(self) -> None:
        """Close, but not on a client that still sends: it would lose the answer with the connection."""
        if self.transport.is_closing() or self._lingering is not None:
            return
        self._lingering = 0
        self._end_patience()
        self._unset_keepalive_if_required()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(MORE_SECONDS, self.transport.abort)


class _Way:
    """The transport as one answer sees it."""

    def __init__(self, protocol: Connection, cycle: RequestResponseCycle) -> None:
        self._protocol, self._cycle = protocol, cycle
        self.write, self.is_closing = protocol.transport.write, protocol.transport.is_closing

    def close(self) -> None:
        if self._protocol.may_be_sent_more(self._cycle):
            self._protocol.linger()
        else:
            self._protocol.transport.close()


class _Answered:
    """An application whose answer is the connection's last when it comes before the end of the request's body."""

    def __init__(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:
        self._cycle, self._app = cycle, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if self._cycle.more_body and message["type"] == "http.response.start":
                self._cycle.keep_alive = False
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except asyncio.CancelledError:  # the server has waited long enough for this one
            if self._cycle.response_started:
                raise
            await _refusal(*STOPPING)(scope, receive, answer)


def _refusal(status: int, code: str, sentence: str) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        head, body = _written(status, code, sentence)
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})

    return app


def _written(status: int, code: str, sentence: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers and the body of an answer that closes the connection."""
    request_id = uuid4().hex
    body = document(status, code, sentence, request_id).model_dump_json(exclude_none=True).encode()
    headers = {
        **HEADERS,
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "X-Request-ID": request_id,
        "Connection": "close",
    }
    if status == 503:
        headers["Retry-After"] = "5"
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()], body
