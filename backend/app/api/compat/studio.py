"""`/api/jobs`: the routes of Background Remover Studio. A job is a task, and its id that of the task."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from app.api.deps import Administrator, ServicesDep, VisitingWriter, Visitor
from app.api.errors import responses
from app.api.finishing import failure, picture
from app.api.schemas.batches import RefusedOut, batch_form
from app.api.schemas.studio import Deleted, FailedJobs, JobOut, JobQueued, JobsQueued
from app.api.schemas.tasks import upload_form
from app.api.v1.batches import open_batch_form, read_parts, submit_parts
from app.api.v1.health import health_router, metrics_router
from app.api.v1.images import PICTURE
from app.api.v1.uploads import IdempotencyKey, accepted, open_form, read_form, take_in
from app.core.states import TaskStatus
from app.services.status import TaskView

MOST = 100  # failed jobs that are listed

# Where a job goes on, for programs that read the description.
LINKS: dict[str, Any] = {
    name: {"operationId": f"{name}_api_jobs__job_id__{rest}", "parameters": {"job_id": "$response.body#/job_id"}}
    for name, rest in {"get_job": "get", "cancel_job": "cancel_post", "download_job": "download_get"}.items()
}

# A job's id is a UUID by the path alone: `remove-bg` is none, and what is no id is no address.
router = APIRouter(prefix="/api", tags=["studio"])
batch_router = APIRouter(prefix="/api", tags=["studio"])  # by itself: its requests may be larger
router.include_router(health_router)
router.include_router(metrics_router)


@router.post(
    "/jobs/remove-bg",
    status_code=202,
    summary="Upload an image to have its background removed, as a job",
    responses={202: {"links": LINKS}, **responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503)},
    openapi_extra=upload_form(),
)
async def make_job(
    request: Request,
    response: Response,
    services: ServicesDep,
    user: VisitingWriter,
    idempotency_key: IdempotencyKey = None,
) -> JobQueued:
    async with open_form(request) as form:
        taken = await take_in(request, services, user, *read_form(form), idempotency_key)
    accepted(taken, response)
    response.headers["Location"] = f"/api/jobs/{taken.task_id}"
    return JobQueued(job_id=taken.task_id)


@batch_router.post(
    "/jobs/remove-bg-batch",
    status_code=202,
    summary="Upload many images, each of which becomes a job",
    responses=responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=batch_form(upload_form(), files="files"),
)
async def make_jobs(
    request: Request,
    response: Response,
    services: ServicesDep,
    user: VisitingWriter,
    idempotency_key: IdempotencyKey = None,
) -> JobsQueued:
    """They are a batch. One bad picture never fails the others: it is listed under `refused`, with its reason."""
    async with open_batch_form(request, services) as form:
        parts = read_parts(form, files="files")
        batch_id = await submit_parts(request, response, services, user, *parts, idempotency_key)
    batch = (await run_in_threadpool(services.batches.get, batch_id, user.id)).batch
    tasks = await run_in_threadpool(services.batches.items, batch_id, user.id)
    refused = [RefusedOut.model_validate(entry) for entry in batch.refused]
    return JobsQueued(job_ids=[task.id for task in tasks], refused=refused)


@router.get("/jobs/{job_id:uuid}", summary="How far a job is", responses=responses(401, 404, 422, 503))
def get_job(job_id: UUID, services: ServicesDep, user: Visitor) -> JobOut:
    return _job(services.statuses.get(job_id, user.id))


@router.post(
    "/jobs/{job_id:uuid}/cancel", summary="End a job that is not over", responses=responses(401, 404, 409, 422, 503)
)
def cancel_job(job_id: UUID, services: ServicesDep, user: VisitingWriter) -> JobOut:
    services.control.cancel(job_id, user.id)
    return _job(services.statuses.get(job_id, user.id))


@router.get(
    "/jobs/{job_id:uuid}/download",
    summary="The finished picture itself",
    response_class=StreamingResponse,
    responses=PICTURE | responses(401, 404, 409, 410, 422, 503),
)
def download_job(job_id: UUID, services: ServicesDep, user: Visitor) -> StreamingResponse:
    return picture(services, job_id, user.id)


@router.get("/failed-jobs", summary="The caller's failed jobs, newest first", responses=responses(401, 503))
def list_failed_jobs(services: ServicesDep, user: Visitor) -> FailedJobs:
    failed, _ = services.statuses.page(user.id, limit=MOST, status=TaskStatus.FAILED)
    return FailedJobs(jobs=[_job(view) for view in failed])


@router.post("/admin/cleanup", summary="Delete what is past its time", responses=responses(401, 403, 503))
def clean_up_jobs(services: ServicesDep, _: Administrator) -> Deleted:
    return Deleted(deleted=services.retention.clean().objects)


def _job(view: TaskView) -> JobOut:
    task, error = view.task, None
    if task.status in {TaskStatus.FAILED, TaskStatus.EXPIRED}:
        error = failure(task.status, task.error_code, task.error_message).message
    return JobOut.of(task, error=error)
