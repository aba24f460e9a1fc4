"""`/tasks`: what became of the caller's images."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.api.deps import Caller, ServicesDep
from app.api.errors import responses
from app.api.schemas.tasks import TaskOut, TaskPage
from app.core.states import TaskStatus

router = APIRouter(prefix="/tasks", tags=["tasks"])


@router.get("", summary="The caller's tasks, newest first", responses=responses(401, 422, 503))
def list_tasks(
    request: Request,
    response: Response,
    services: ServicesDep,
    user: Caller,
    status: TaskStatus | None = None,
    batch_id: UUID | None = None,
    created_after: datetime | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> TaskPage:
    views, more = services.statuses.page(
        user.id, limit=limit, status=status, batch_id=batch_id, created_after=created_after, cursor=cursor
    )
    if more is not None:
        response.headers["Link"] = f'<{request.url.include_query_params(cursor=more)}>; rel="next"'
    return TaskPage(tasks=[TaskOut.of(view) for view in views], next_cursor=more)


@router.get("/{task_id}", summary="One task", responses=responses(401, 404, 422, 503))
def get_task(task_id: UUID, services: ServicesDep, user: Caller) -> TaskOut:
    return TaskOut.of(services.statuses.get(task_id, user.id))


@router.get(
    "/{task_id}/result",
    status_code=307,
    summary="Leads to the finished picture",
    response_class=RedirectResponse,
    responses=responses(401, 404, 409, 422, 503),
)
def get_result(task_id: UUID, services: ServicesDep, user: Caller, download: bool = True) -> RedirectResponse:
    return RedirectResponse(services.statuses.result_url(task_id, user.id, attachment=download), 307)
