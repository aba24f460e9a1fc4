"""`POST /process`: images through a pipeline, in one request. For clients of services that are called so."""

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.api.bodies import JSON, read_json
from app.api.deps import ServicesDep, VisitingWriter
from app.api.errors import responses
from app.api.finishing import wait_for_all
from app.api.schemas.pipelines import PipelineOut, described
from app.api.v1.batches import taken_in
from app.api.v1.uploads import IdempotencyKey
from app.services.pipelines import PipelineRequest

LATER = {
    "description": "It takes longer: this is what there is so far.",
    "headers": {"Location": {"schema": {"type": "string"}, "description": "The batch that the images are."}},
}

router = APIRouter(tags=["images"])


@router.post(
    "/process",
    summary="Send images through a pipeline, and get what it finds",
    responses={
        202: {"model": PipelineOut, **LATER},
        **responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    },
    openapi_extra={"requestBody": {"required": True, "content": {JSON: {"schema": described()}}}},
)
async def process(
    request: Request,
    response: Response,
    services: ServicesDep,
    user: VisitingWriter,
    idempotency_key: IdempotencyKey = None,
) -> PipelineOut:
    """Waits for all of them, SYNC_WAIT_SECONDS at most; they are a batch. One that fails never fails the others."""
    asked = await read_json(request, PipelineRequest)
    images, fields = asked.read(services.settings)
    batch_id = await taken_in(request, response, services, user, images, fields, idempotency_key)
    task_ids = await run_in_threadpool(services.pipelines.task_ids, batch_id)
    await wait_for_all(request, services, task_ids, user.id)
    found = await run_in_threadpool(services.pipelines.outcome, batch_id, asked.pipeline, asked.source_images)
    response.status_code = 200 if found.is_over else 202
    return PipelineOut.model_validate(found.told)
