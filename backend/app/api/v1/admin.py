"""`/admin`: for administrators."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.deps import Administrator, ServicesDep
from app.api.errors import responses
from app.api.schemas.admin import Cleanup, CleanupOut, FailedPage, FailedTask, Requeue, Requeued, StatsOut

router = APIRouter(prefix="/admin", tags=["administration"], max_body_size=65_536)


@router.get("/failed-tasks", summary="Failed tasks of all accounts", responses=responses(401, 403, 422, 503))
def list_failed(
    services: ServicesDep,
    _: Administrator,
    error_code: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> FailedPage:
    failed, more = services.administration.failed(limit=limit, error_code=error_code, cursor=cursor)
    return FailedPage(tasks=[FailedTask.of(task) for task in failed], next_cursor=more)


@router.post(
    "/failed-tasks/requeue", summary="Run failed or cancelled tasks again", responses=responses(401, 403, 422, 503)
)
def requeue_failed(asked: Requeue, services: ServicesDep, _: Administrator) -> Requeued:
    begun = services.administration.requeue(asked.task_ids)
    return Requeued(requeued=list(begun), refused=[task_id for task_id in asked.task_ids if task_id not in begun])


@router.post("/cleanup", summary="Delete what is past its time", responses=responses(401, 403, 422, 503))
def clean_up(asked: Cleanup, services: ServicesDep, _: Administrator) -> CleanupOut:
    cleaned = services.retention.preview() if asked.dry_run else services.retention.clean()
    return CleanupOut.model_validate(cleaned, from_attributes=True)


@router.get("/stats", summary="How many tasks there are", responses=responses(401, 403, 503))
def stats(services: ServicesDep, _: Administrator) -> StatsOut:
    return StatsOut.model_validate(services.administration.stats(), from_attributes=True)
