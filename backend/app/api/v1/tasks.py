"""`/tasks`: what became of the caller's images."""

from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.api.deps import Caller, ServicesDep, Visitor, Writer
from app.api.errors import responses
from app.api.schemas.options import RenderIn
from app.api.schemas.tasks import Accepted, EventOut, History, TaskOut, TaskPage
from app.api.schemas.values import Moment
from app.api.v1.uploads import LINKS, IdempotencyKey, accepted
from app.api.waiting import (
    MAX_WAIT,
    STREAM,
    TAGGED,
    IfNoneMatch,
    Known,
    LastEventId,
    StreamPlace,
    answer,
    events,
    see,
)
from app.core.states import TaskStatus

Wait = Annotated[
    float,
    Query(
        ge=0,
        le=MAX_WAIT,
        allow_inf_nan=False,
        description="Seconds to hold the answer: until the task differs from `If-None-Match`, else until it is over.",
    ),
]

router = APIRouter(prefix="/tasks", tags=["tasks"], max_body_size=65_536)


@router.get("", summary="The caller's tasks, newest first", responses=responses(401, 422, 503))
def list_tasks(
    request: Request,
    response: Response,
    services: ServicesDep,
    user: Caller,
    status: TaskStatus | None = None,
    batch_id: UUID | None = None,
    created_after: Moment | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> TaskPage:
    views, more = services.statuses.page(
        user.id, limit=limit, status=status, batch_id=batch_id, created_after=created_after, cursor=cursor
    )
    if more is not None:
        query = urlencode({**request.query_params, "cursor": more})
        response.headers["Link"] = f'<{request.scope["path"]}?{query}>; rel="next"'
    return TaskPage(tasks=[TaskOut.of(view) for view in views], next_cursor=more)


@router.get(
    "/{task_id}",
    summary="One task; with `wait`, as soon as it changes",
    response_model=TaskOut,
    responses=TAGGED | responses(401, 404, 422, 503),
)
async def get_task(
    request: Request,
    response: Response,
    task_id: UUID,
    services: ServicesDep,
    user: Visitor,
    if_none_match: IfNoneMatch = "",
    wait: Wait = 0,
) -> TaskOut | Response:
    known = Known(if_none_match)
    seen = await see(request, services, task_id, user.id, known.lacks, wait=wait)
    return answer(seen, known, response)


@router.get(
    "/{task_id}/events",
    summary="A task's progress as it goes on, as server-sent events",
    response_class=EventSourceResponse,
    responses=STREAM | responses(401, 404, 422, 503),
)
async def get_events(place: StreamPlace, last_event_id: LastEventId = None) -> AsyncIterator[ServerSentEvent]:
    async for event in events(*place, last_event_id):
        yield event


@router.get(
    "/{task_id}/result",
    status_code=307,
    summary="Leads to the finished picture",
    response_class=RedirectResponse,
    responses=responses(401, 404, 409, 410, 422, 503),
)
def get_result(task_id: UUID, services: ServicesDep, user: Visitor, download: bool = True) -> RedirectResponse:
    return RedirectResponse(services.statuses.result_url(task_id, user.id, attachment=download), 307)


@router.post("/{task_id}/cancel", summary="End a task that is not over", responses=responses(401, 404, 409, 422, 503))
def cancel_task(task_id: UUID, services: ServicesDep, user: Writer) -> TaskOut:
    services.control.cancel(task_id, user.id)
    return TaskOut.of(services.statuses.get(task_id, user.id))


@router.post(
    "/{task_id}/retry",
    status_code=202,
    summary="Run a failed or cancelled task again",
    responses=responses(401, 404, 409, 422, 503),
)
def retry_task(task_id: UUID, services: ServicesDep, user: Writer) -> TaskOut:
    services.control.retry(task_id, user)
    return TaskOut.of(services.statuses.get(task_id, user.id))


@router.post(
    "/{task_id}/render",
    status_code=202,
    summary="Make something else of a task's original, with other options",
    responses={202: {"links": LINKS}, **responses(400, 401, 404, 409, 422, 429, 503)},
)
def render_task(
    task_id: UUID,
    asked: RenderIn,
    request: Request,
    response: Response,
    services: ServicesDep,
    user: Writer,
    idempotency_key: IdempotencyKey = None,
) -> Accepted:
    """A new task. The network has no part in it as long as what it found before is kept: it takes a moment."""
    order = services.orders.read(user, asked.root, request_id=request.state.request_id, idempotency_key=idempotency_key)
    return accepted(services.control.render(task_id, user, order), response)


@router.delete(
    "/{task_id}",
    status_code=204,
    summary="Take a task away, with its result and its original",
    responses=responses(401, 404, 422, 503),
)
def delete_task(task_id: UUID, services: ServicesDep, user: Writer) -> None:
    services.control.delete(task_id, user.id)


@router.get("/{task_id}/history", summary="What happened to a task", responses=responses(401, 404, 422, 503))
def get_history(task_id: UUID, services: ServicesDep, user: Caller) -> History:
    return History(events=[EventOut.of(event) for event in services.statuses.history(task_id, user.id)])
