"""Calls of programs that were written for another service: they know of no task, and wait for the picture itself."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask

from app.api.deps import Services
from app.api.finishing import failure, see_end
from app.api.schemas.tasks import TaskOut
from app.core.errors import AppError, ServiceUnavailable
from app.core.states import TERMINAL, TaskStatus
from app.db.models import User
from app.services.given_up import Call

SOON = 2  # seconds
PATIENCE = 20.0  # seconds that a call waits until its picture is taken in
# They may be there in a minute. Who waits is better told now, as he was by the service that he takes this for.
AWAY = frozenset({"url_not_fetched", "background_not_usable", "model_unavailable"})


async def answered(
    request: Request, services: Services, user: User, call: Call, say: Callable[[], StreamingResponse]
) -> Response:
    """What `say` makes (in a thread) of the completed task of a call; waits for it, DROP_IN_WAIT_SECONDS at most.

    Raises what the task has come to otherwise; one that has failed costs nothing. Who gets no answer, or not all of it,
    and asks for the same again, gets that of his task.
    """
    request.state.task_id = call.task_id
    wait = services.settings.drop_in_wait_seconds
    try:
        task = await see_end(request, services, call.task_id, user.id, wait=wait, is_enough=_is_put_off)
        if task.status == TaskStatus.COMPLETED:
            response = await run_in_threadpool(say)
            response.headers["X-Task-Id"] = str(call.task_id)
            return _unless_heard(response, partial(services.given_up.leave, call))
        if task.status not in TERMINAL and not _is_put_off(task):
            message = "The image takes longer than one waits for an answer. Send the same request again for its result."
            raise ServiceUnavailable(message, code="still_processing", retry_after=SOON)
    except Exception as error:  # also a client that has gone
        if not isinstance(error, AppError) or error.retryable:
            await run_in_threadpool(services.given_up.leave, call)
        raise
    await run_in_threadpool(services.given_up.end, call)
    raise failure(TaskStatus.FAILED if _is_put_off(task) else task.status, task.error_code, task.error_message)


def _unless_heard(response: StreamingResponse, leave: Callable[[], None]) -> StreamingResponse:
    """The answer; `leave` is called (in a thread) if its reader goes away before its end."""
    pieces, left = response.body_iterator, int(response.headers["Content-Length"])

    async def noted() -> AsyncIterator[Any]:
        nonlocal left
        async for piece in pieces:
            yield piece
            left -= len(piece)  # and not at the end, which is only learned after the last one has gone

    def end() -> None:
        if left > 0:
            leave()

    response.body_iterator = noted()
    response.background = BackgroundTask(end)
    return response


def _is_put_off(task: TaskOut) -> bool:
    """Whether it would be tried again later, since what it needs is not there."""
    return task.status == TaskStatus.RETRYING and task.error_code in AWAY
