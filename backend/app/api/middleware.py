"""Around every request: its id, one log line, the headers of every answer, and no error without a problem document."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

from fastapi import FastAPI
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.api.compat import removebg_errors, removebg_limits
from app.api.errors import CODE_OF_STATUS, RETRY_AFTER, SENTENCES, problem
from app.api.limits import fields
from app.api.receiving import Pace, Receiving, Room
from app.core.config import MIB, Settings
from app.core.logging import get_logger

Observe = Callable[[Scope, int, float], None]  # a finished request, its status, and its seconds

SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Frame-Options": "DENY",
}
HTTPS_ONLY = {"Strict-Transport-Security": "max-age=31536000"}

# All bodies that are under way may take so much, in memory and in /tmp, and at least that of four largest uploads.
ROOM, LARGEST_AT_ONCE = 480 * MIB, 4
SHARES = 4  # one account, or who has not said yet that he has one, takes at most one of so many

LOGGED = 1000  # characters of a path
BATCHES = frozenset({"/api/v1/batches", "/api/jobs/remove-bg-batch"})
BATCH_DEADLINES = 10  # a batch may take so many times as long as a picture
PROBES = frozenset({"/livez", "/readyz"})  # asked by the address of a pod
REMBG = "/api/remove"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")  # by which no page of a stranger can call
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SENT = ("Authorization", "X-API-Key", "Idempotency-Key", "If-None-Match", "Last-Event-ID", "X-Request-ID")
EXPOSED = (
    *("Location", "Link", "ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-ID"),
    *("X-Task-Id", "X-Type", "X-Credits-Charged", "X-Width", "X-Height", "X-Max-Width", "X-Max-Height"),
    *("X-Foreground-Top", "X-Foreground-Left", "X-Foreground-Width", "X-Foreground-Height"),
    *removebg_limits.HEADERS,
)

# Of forms. Whatever else Python knows: some take a second for a small text, and each new name is remembered for good.
CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "latin1"})
CHARSET = (415, "unsupported_charset", "A form is expected in UTF-8.")

# What the framework's own layers say in plain text, and how we say it.
PLAIN = {
    "Invalid host header": ("unknown_host", "This server does not answer to that host name."),
    "Disallowed CORS": ("origin_refused", "Pages of that origin may not send this request."),
}

log = get_logger(__name__)


def install(app: FastAPI, settings: Settings, is_draining: Callable[[], bool], observe: Observe) -> None:
    """Put all layers around the app, the innermost first."""
    largest = largest_body(settings)
    pace = Pace(settings.upload_deadline_seconds, settings.upload_min_bytes_per_second)
    room = max(ROOM, LARGEST_AT_ONCE * max(largest, settings.max_batch_bytes))
    app.add_middleware(Guard, pace=pace, room=Room(room, room // SHARES))
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=METHODS,
            allow_headers=SENT,
            expose_headers=EXPOSED,
        )
    elif not settings.open_doors:  # where a stranger needs no key, a page of his would need none
        app.add_middleware(AnyOrigin)
    if settings.trusted_hosts:
        app.add_middleware(KnownHosts, hosts=settings.trusted_hosts)
    app.add_middleware(Edge, is_draining=is_draining, observe=observe)
    if settings.trusted_proxies:
        # From here on `client` and `scheme` are the truth, as far as the proxies tell it.
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))


def largest_body(settings: Settings) -> int:
    """Bytes that an upload may have: twice the largest image, so that one that is too large can be told its size."""
    return 2 * settings.max_image_bytes + MIB


class KnownHosts(TrustedHostMiddleware):
    """Answers to known host names alone; the probes of the machine itself always get through."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        super().__init__(app, [*hosts, *LOOPBACK], www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in PROBES:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class AnyOrigin(CORSMiddleware):
    """Pages of every origin may call the doors of remove.bg and rembg, as they could there. They need a key: no cookie
    is one."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, ("*",), ("GET", "HEAD", "POST"), ("*",), expose_headers=EXPOSED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (removebg_errors.concerns(scope["path"]) or scope["path"] == REMBG):
            await self.app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":  # theirs had it without an `Origin`, too
                MutableHeaders(raw=message["headers"]).setdefault("Access-Control-Allow-Origin", "*")
            await send(message)

        await super().__call__(scope, receive, answer)


class Guard:
    """Bodies come in bounds, and a crash is a problem document.

    Within CORS, so that the pages of allowed origins can read these answers, too.
    """

    def __init__(self, app: ASGIApp, pace: Pace, room: Room) -> None:
        self.app = app
        self._pace, self._room = pace, room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if not _has_known_charset(Headers(scope=scope).get("content-type")):
            await problem(Request(scope), *CHARSET)(scope, receive, send)
            return
        pace = replace(self._pace, deadline=BATCH_DEADLINES * self._pace.deadline) if _is_batch(scope) else self._pace
        receiving = Receiving(scope, receive, pace, self._room)
        scope["state"]["let_go"] = receiving.end  # for one that goes on when its body is read and gone
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if started or receiving.refusal is None:  # else it is the app's word on a client that it thinks gone
                started = True
                await send(message)

        try:
            await self.app(scope, receiving, answer)
        except Exception as error:
            if started or (receiving.refusal is None and isinstance(error, ClientDisconnect)):
                raise
            if receiving.refusal is None:
                log.exception("request_crashed", path=scope["path"])
                await problem(Request(scope), 500, "internal_error", SENTENCES[500])(scope, receive, send)
        finally:
            receiving.end()
        if (refusal := receiving.refusal) is not None and not started:
            headers = {"Connection": "close"} | ({"Retry-After": RETRY_AFTER} if refusal.status == 503 else {})
            refused = problem(Request(scope), refusal.status, refusal.code, refusal.sentence, headers=headers)
            await refused(scope, receive, send)


def _has_known_charset(content_type: str | None) -> bool:
    named = parse_options_header(content_type)[1].get(b"charset")
    return named is None or named.decode("latin-1").lower() in CHARSETS


def _is_batch(scope: Scope) -> bool:
    return bool(scope["method"] == "POST" and scope["path"] in BATCHES)


class Edge:
    """The outermost layer (pure ASGI, so that bodies stream through untouched)."""

    def __init__(
        self,
        app: ASGIApp,
        is_draining: Callable[[], bool] = lambda: False,
        observe: Observe = lambda scope, status, seconds: None,
    ) -> None:
        self.app = app
        self._is_draining = is_draining
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if SANE_ID.fullmatch(asked) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        with bound_contextvars(request_id=request_id):
            exchange = _Exchange(self.app, scope, receive, send, request_id, last=self._is_draining())
            await exchange.run(self._observe)


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, request_id: str, *, last: bool
    ) -> None:
        self._app, self._scope, self._receive, self._send = app, scope, receive, send
        # HEAD is GET to the app, and the server is not told.
        self._seen: Scope = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        self._headers = {"X-Request-ID": request_id}
        if last:
            self._headers["Connection"] = "close"  # so that the next request finds a server that stays
        if scope.get("scheme") == "https":
            self._headers |= HTTPS_ONLY
        self._status = 0
        self._ended = False
        self._plain: Message | None = None

    async def run(self, observe: Observe) -> None:
        begun = time.perf_counter()
        try:
            await self._app(self._seen, self._receive, self._answer)
        except ClientDisconnect:
            self._status = 499  # for the log: nobody is there to answer
        except Exception:
            log.exception("request_crashed", path=self._scope["path"])
            if self._status:
                raise  # half an answer is out: only closing the connection tells that it is broken
            await self._problem(500, "internal_error", SENTENCES[500])
        finally:
            seconds = time.perf_counter() - begun
            observe({**self._seen, "method": self._scope["method"]}, self._status, seconds)
            log.info(
                "request_finished",
                method=self._scope["method"],
                path=self._scope["path"][:LOGGED],
                status=self._status,
                duration_ms=round(seconds * 1000, 1),
            )

    async def _answer(self, message: Message) -> None:
        if self._ended:
            return
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            # Some layers of the framework answer in plain text; every error of ours is a problem document.
            if message["status"] >= 400 and headers.get("content-type", "").startswith("text/plain"):
                self._plain = message
                return
            self._status = message["status"]
            headers.update(self._headers | fields(self._scope["state"]))
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        elif self._plain is not None:
            await self._say_properly(self._plain, message.get("body", b"").decode("utf-8", "replace"))
            return
        await self._send(message)
        if self._scope["method"] == "HEAD":
            self._ended = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _say_properly(self, answer: Message, text: str) -> None:
        self._plain, status = None, answer["status"]
        code = CODE_OF_STATUS.get(status, "internal_error" if status >= 500 else "http_error")
        found = next((said for start, said in PLAIN.items() if text.startswith(start)), None)
        kept = {
            name: value
            for name, value in Headers(raw=answer["headers"]).items()
            if name in {"vary", "allow", "retry-after"} or name.startswith("access-control-")
        }
        code, sentence = found or (code, SENTENCES.get(status, "The request cannot be answered."))
        await self._problem(status, code, sentence, kept)
        self._ended = True

    async def _problem(self, status: int, code: str, sentence: str, headers: dict[str, str] | None = None) -> None:
        # By way of `_answer`, which adds what every answer has.
        answer = problem(Request(self._scope), status, code, sentence, headers=headers)
        await answer(self._scope, self._receive, self._answer)
