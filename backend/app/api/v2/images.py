"""`/api/v2/remove-backgrounds`: images by URL that are started together and asked for later, by the ids of flows."""

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.api.bodies import JSON, read_json
from app.api.deps import ServicesDep, VisitingWriter, Visitor
from app.api.errors import responses
from app.api.schemas.images import Flows, FlowsOut, FlowsStarted, ImagesIn
from app.api.v1.batches import taken_in
from app.api.v1.uploads import IdempotencyKey

router = APIRouter(prefix="/api/v2/remove-backgrounds", tags=["images"])


@router.post(
    "",
    summary="Start on images by their URLs",
    responses=responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra={"requestBody": {"required": True, "content": {JSON: {"schema": ImagesIn.model_json_schema()}}}},
)
async def start(
    request: Request,
    response: Response,
    services: ServicesDep,
    user: VisitingWriter,
    idempotency_key: IdempotencyKey = None,
) -> FlowsStarted:
    """Answers at once. They are a batch, and each flow is a task."""
    images, fields = (await read_json(request, ImagesIn)).read(most=services.settings.max_batch_files)
    batch_id = await taken_in(request, response, services, user, images, fields, idempotency_key)
    batch = (await run_in_threadpool(services.batches.get, batch_id, user.id)).batch
    return FlowsStarted.of(batch, await run_in_threadpool(services.pipelines.task_ids, batch_id), images)


@router.post(
    "/results",
    summary="What is there so far",
    responses=responses(400, 401, 413, 415, 422, 429, 503),
    openapi_extra={"requestBody": {"required": True, "content": {JSON: {"schema": Flows.model_json_schema()}}}},
)
async def results(request: Request, services: ServicesDep, user: Visitor) -> FlowsOut:
    """Finished, running and failed alike. The body is a list of flow ids, or an object that has them as `flow_ids`."""
    flow_ids = (await read_json(request, Flows)).root
    return FlowsOut.of(flow_ids, await run_in_threadpool(services.statuses.among, flow_ids, user.id))
