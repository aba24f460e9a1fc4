"""Waiting for a task: what long polls and event streams have in common, and the tags that tell two states apart."""

import asyncio
import re
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import ServerSentEvent
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.requests import ClientDisconnect

from app.api.deps import Services, ServicesDep, Visitor
from app.api.schemas.tasks import TaskOut
from app.core.errors import NotFound
from app.core.logging import get_logger
from app.core.states import TERMINAL
from app.services.changes import Changes, TooManyWaiting

MAX_WAIT = 25.0  # seconds, below the time that proxies give an answer
MAX_STREAM = 900.0  # seconds; a browser comes back by itself
BREATH = 1.0  # seconds that one waits whom there is no place to wait for: he would ask again at once
SIGN_ANEW = 600.0  # seconds after which a client that has seen a result is given a new address of it
TAG = re.compile(r'"([^"]*)"')  # weak or not: all of ours are weak, and compared as such

IfNoneMatch = Annotated[str, Header(description="The `ETag` of the state that you have; several, or `*`.")]
LastEventId = Annotated[str | None, Header(description="The last event you have; a browser sends it by itself.")]

# What the routes answer, for their description.
ETAG = {"ETag": {"description": "Tells one state of the task from another.", "schema": {"type": "string"}}}
TAGGED: dict[int | str, dict[str, Any]] = {
    200: {"headers": ETAG},
    304: {"description": "The task is as `If-None-Match` says", "headers": ETAG},
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`progress` events with the task, then one by the name of its end (`completed`, `failed`,"
        " `cancelled`, `expired`): close the stream then. It ends after 15 minutes and when the server stops; a browser"
        " comes back by itself, with `Last-Event-ID`.",
        "content": {
            "text/event-stream": {
                "example": 'event: progress\ndata: {"task_id": "0e20085f-…", "status": "processing", "stage":'
                ' "inferring", "progress": 20, …}\nid: 1-processing-inferring-20-0-1795254148000\n\n'
            }
        },
    }
}

T = TypeVar("T")

log = get_logger(__name__)


@dataclass(frozen=True)
class Seen:
    """A task at one look, and the tag of that state."""

    task: TaskOut
    tag: str

    @property
    def is_over(self) -> bool:
        return self.task.status in TERMINAL

    @property
    def headers(self) -> dict[str, str]:
        return {"ETag": f'W/"{self.tag}"', "Cache-Control": "private, no-store"}


class Known:
    """The states that a client has, by its `If-None-Match`."""

    def __init__(self, header: str) -> None:
        self._any = header.strip() == "*"
        self._tags = set(TAG.findall(header))

    def lacks(self, seen: Seen) -> bool:
        """Whether there are states that he has, and this is another one."""
        return (self._any or bool(self._tags)) and not self.has(seen.tag)

    def has(self, tag: str) -> bool:
        return self._any or tag in self._tags


def look(services: Services, task_id: UUID, user_id: UUID) -> Seen:
    """The task as it is now. Blocks."""
    view = services.statuses.get(task_id, user_id)
    task = view.task
    parts = [task.attempt, task.status, task.stage or "", task.progress, task.retries]
    parts.append(round(task.queued_at.timestamp() * 1000))
    if task.result_key is not None:
        # An address that is signed when it is read: who is told "unchanged" must have one that still holds.
        parts.append(int(time.time() / min(SIGN_ANEW, services.settings.presigned_url_ttl_seconds / 2)))
    return Seen(TaskOut.of(view), "-".join(map(str, parts)))


class Watch:
    """One who waits for a task, with a place among those who do. No database session is held meanwhile."""

    def __init__(self, look: Callable[[], Seen], changes: Changes, woken: asyncio.Event, seconds: float) -> None:
        self._look, self._changes, self._woken = look, changes, woken
        self._until = asyncio.get_running_loop().time() + seconds

    async def look(self) -> Seen:
        self._woken.clear()  # before the look: a change after it wakes
        return await run_in_threadpool(self._look)

    async def pause(self) -> bool:
        """Wait until there may be something new. False, at once, when the time is up or the API stops."""
        left = self._until - asyncio.get_running_loop().time()
        if left <= 0 or self._changes.ended:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(min(left, self._changes.rhythm)):
                await self._woken.wait()
        return True


@contextmanager
def watching(services: Services, task_id: UUID, user_id: UUID, seconds: float) -> Iterator[Watch]:
    """Raises `TooManyWaiting`."""
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the server was torn down, its loop is closed
            loop.call_soon_threadsafe(woken.set)

    with services.changes.waiting(task_id, user_id, wake):
        yield Watch(lambda: look(services, task_id, user_id), services.changes, woken, seconds)


async def see(
    request: Request,
    services: Services,
    task_id: UUID,
    user_id: UUID,
    is_news: Callable[[Seen], bool] = lambda seen: False,
    *,
    wait: float,
) -> Seen:
    """The task once it is over, or in a state that is news to the client.

    At the latest after `wait` seconds, and soon where too many wait already.
    """
    if wait:
        try:
            with watching(services, task_id, user_id, wait) as watch:
                return await _unless_gone(request, _see_change(watch, is_news))
        except TooManyWaiting:
            await _unless_gone(request, asyncio.sleep(min(wait, BREATH)))
    return await run_in_threadpool(look, services, task_id, user_id)


async def _see_change(watch: Watch, is_news: Callable[[Seen], bool]) -> Seen:
    while True:
        seen = await watch.look()
        if seen.is_over or is_news(seen) or not await watch.pause():
            return seen


def answer(seen: Seen, known: Known, response: Response) -> TaskOut | Response:
    """The task, or that it is as the client knows it."""
    if known.has(seen.tag):
        return Response(status_code=304, headers=seen.headers)
    response.headers.update(seen.headers)
    return seen.task


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What the work comes to; it ends when the client goes away, with `ClientDisconnect`."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            leaving.result()  # a body that is not taken in has an answer of its own
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def stream_place(
    response: Response, task_id: UUID, services: ServicesDep, user: Visitor
) -> AsyncIterator[tuple[Watch, Seen]]:
    """What a stream needs, asked for before it begins: an error is still an answer then."""
    response.headers["Cache-Control"] = "private, no-store"
    with watching(services, task_id, user.id, MAX_STREAM) as watch:
        yield watch, await watch.look()


StreamPlace = Annotated[tuple[Watch, Seen], Depends(stream_place)]


async def events(watch: Watch, seen: Seen, last: str | None) -> AsyncIterator[ServerSentEvent]:
    """The states of a task from the one after `last` on; the final one always, by its own name."""
    while not seen.is_over:
        if seen.tag != last:
            last = seen.tag
            yield ServerSentEvent(event="progress", id=seen.tag, data=seen.task)
        if not await watch.pause():
            return
        try:
            seen = await watch.look()
        except NotFound:  # deleted meanwhile
            return
        except (DBAPIError, PoolTimeout) as error:  # a browser that came back now would be refused, and give up
            log.warning("look_failed", error=type(error).__name__)
    yield ServerSentEvent(event=seen.task.status, id=seen.tag, data=seen.task)


def describe_streams(app: FastAPI) -> None:
    """FastAPI describes events by a word of OpenAPI 3.2; in a document of 3.1 the schema is that of one event."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        schema = describe()
        for item in schema["paths"].values():
            for operation in item.values():
                content = operation["responses"].get("200", {}).get("content", {}).get("text/event-stream", {})
                if (event := content.pop("itemSchema", None)) is not None:
                    content["schema"] = event
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the schema


def end_waits_on_stop(changes: Changes) -> None:
    """Told to stop, a server lets every request finish: those that only wait have to be told, too.

    Call it when everybody else has set their handlers, in the event loop. Outside of a server it does nothing.
    """
    if not callable(signal.getsignal(signal.SIGTERM)) or threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
        before = signal.getsignal(number)
        if callable(before):
            signal.signal(number, _first(changes, loop, before))


def _first(
    changes: Changes, loop: asyncio.AbstractEventLoop, then: Callable[[int, FrameType | None], Any]
) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(changes.end_waits)
        then(number, frame)

    return handle
