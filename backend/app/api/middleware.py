"""Around every request: its id, one log line, the headers of every answer, and no error without a problem document."""

import re
import time
from collections.abc import Callable
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from app.api.errors import CODE_OF_STATUS, SENTENCES, problem
from app.core.logging import get_logger

Observe = Callable[[Scope, int, float], None]  # a finished request, its status, and its seconds

SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

log = get_logger(__name__)


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
        self._headers = {"X-Request-ID": request_id}
        if last:
            self._headers["Connection"] = "close"  # so that the next request finds a server that stays
        self._status = 0
        self._replacing = False

    async def run(self, observe: Observe) -> None:
        begun = time.perf_counter()
        try:
            await self._app(self._scope, self._receive, self._answer)
        except ClientDisconnect:
            self._status = 499  # for the log: nobody is there to answer
        except Exception:
            log.exception("request_crashed", path=self._scope["path"])
            if self._status:
                raise  # half an answer is out: only closing the connection tells that it is broken
            await self._problem(500)
        finally:
            seconds = time.perf_counter() - begun
            observe(self._scope, self._status, seconds)
            log.info(
                "request_finished",
                method=self._scope["method"],
                path=self._scope["path"],
                status=self._status,
                duration_ms=round(seconds * 1000, 1),
            )

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            # The framework's body limit answers in plain text; every error of ours is a problem document.
            if message["status"] >= 400 and headers.get("content-type", "").startswith("text/plain"):
                self._replacing = True
                await self._problem(message["status"])
                return
            self._status = message["status"]
            headers.update(self._headers)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        elif self._replacing:
            return
        await self._send(message)

    async def _problem(self, status: int) -> None:
        code = CODE_OF_STATUS.get(status, "internal_error" if status >= 500 else "http_error")
        answer = problem(Request(self._scope), status, code, SENTENCES.get(status, "The request cannot be answered."))
        answer.headers.update(HEADERS | self._headers)
        self._status = status
        await answer(self._scope, self._receive, self._send)
