"""Answers that hold what a task has come to: somebody waits for it, without a thread, and is sent the picture."""

import asyncio
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from threading import BoundedSemaphore
from typing import BinaryIO
from uuid import UUID

from fastapi import Request
from fastapi.responses import StreamingResponse

from app.api.deps import Services
from app.api.schemas.tasks import TaskOut
from app.api.waiting import Seen, see
from app.core.errors import AppError, Conflict, Gone, NotFound, RejectedImage, ServiceUnavailable
from app.core.states import FAULTS_OF_OURS, TaskStatus
from app.services.status import Picture

PIECE = 65_536  # bytes
SENDING = BoundedSemaphore(64)


async def see_end(
    request: Request,
    services: Services,
    task_id: UUID,
    user_id: UUID,
    *,
    wait: float,
    is_enough: Callable[[TaskOut], bool] = lambda task: False,
) -> TaskOut:
    """The task once it is over, or as far as one waits for it; as it is after so many seconds at the latest.

    He came for the picture: where too many wait for each to be woken, he looks himself until there is a place.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + wait

    def is_news(seen: Seen) -> bool:
        return is_enough(seen.task)

    while True:
        seen = await see(request, services, task_id, user_id, is_news, wait=max(0.0, until - clock()))
        if seen.is_over or is_news(seen) or clock() >= until or services.changes.ended:
            return seen.task


async def wait_for_all(request: Request, services: Services, task_ids: Iterable[UUID], user_id: UUID) -> None:
    """Return once all of them are over, after SYNC_WAIT_SECONDS at the latest."""
    clock = asyncio.get_running_loop().time
    until = clock() + services.settings.sync_wait_seconds
    for task_id in task_ids:  # one after the other: it is the last one that counts
        if (left := until - clock()) <= 0:
            return
        with suppress(NotFound):  # deleted meanwhile
            await see(request, services, task_id, user_id, wait=left)


def picture(services: Services, task_id: UUID, user_id: UUID) -> StreamingResponse:
    """The result of a completed task, as `send_result` has it."""
    return send_result(services, task_id, user_id, as_it_is)


def send_result(
    services: Services, task_id: UUID, user_id: UUID, say: Callable[[Picture], StreamingResponse]
) -> StreamingResponse:
    """An answer with the result of a completed task. Blocks until it is here; raises what `Statuses.open_result` does.

    Each lies on disk until its reader has it all, however slow he is: there are only so many.
    """
    if not SENDING.acquire(blocking=False):
        raise ServiceUnavailable("Too many results are being sent at the moment. Please try again.", code="busy")
    try:
        found = services.statuses.open_result(task_id, user_id)
        response = say(found)
    except BaseException:
        SENDING.release()
        raise
    response.headers["Content-Location"] = f"/api/v1/tasks/{task_id}"
    # Also of one whose reader went away before its end.
    weakref.finalize(response, found.file.close)
    weakref.finalize(response, SENDING.release)
    return response


def as_it_is(found: Picture) -> StreamingResponse:
    headers = {"Content-Length": str(found.size_bytes), "Content-Disposition": found.disposition}
    return StreamingResponse(pieces(found.file), media_type=found.content_type, headers=headers)


def pieces(file: BinaryIO, size: int = PIECE) -> Iterator[bytes]:
    """What it holds, in pieces of so many bytes; closed afterwards."""
    with file:
        while piece := file.read(size):
            yield piece


def failure(status: TaskStatus, code: str | None, message: str | None) -> AppError:
    """What somebody is answered who waited for a task that has come to no picture."""
    if status == TaskStatus.CANCELLED:
        return Conflict("The task was cancelled.", code="task_cancelled")
    if status == TaskStatus.EXPIRED:
        return Gone("The result was kept for its time and is no longer stored.", code="task_expired")
    sentence = message or "The image could not be processed."
    if code in FAULTS_OF_OURS:
        return ServiceUnavailable(sentence, code=code)
    return RejectedImage(sentence, code=code)
