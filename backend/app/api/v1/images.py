"""Images that are answered at once: whoever asks waits, and gets what has become of them."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from app.api.bodies import JSON, is_json, read_json
from app.api.deps import ServicesDep, VisitingWriter
from app.api.errors import responses
from app.api.finishing import failure, picture, see_end, wait_for_all
from app.api.schemas.images import ImageIn, ImagesIn, ImagesOut
from app.api.schemas.tasks import TaskOut, upload_form
from app.api.v1.batches import taken_in
from app.api.v1.uploads import LINKS, IdempotencyKey, open_form, read_form, take_in
from app.core.options import CONTENT_TYPES
from app.core.states import TERMINAL, TaskStatus
from app.services.orders import priority_of

PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in CONTENT_TYPES.values()}}
}
LATER = {
    "description": "It takes longer; here is where to ask.",
    "headers": {"Location": {"schema": {"type": "string"}}},
}


def _one() -> dict[str, Any]:
    """The description of the request: the picture itself in a form, or its URL as JSON."""
    form = upload_form()
    form["requestBody"]["content"][JSON] = {"schema": ImageIn.model_json_schema()}
    return form


router = APIRouter(tags=["images"])


@router.post(
    "/remove-background",
    summary="Send or name an image, and get the picture itself",
    response_class=Response,
    responses={
        **PICTURE,
        202: {"model": TaskOut, "links": LINKS, **LATER},
        **responses(400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 503),
    },
    openapi_extra=_one(),
)
async def remove_background(
    request: Request, services: ServicesDep, user: VisitingWriter, idempotency_key: IdempotencyKey = None
) -> Response:
    """Waits for it, SYNC_WAIT_SECONDS at most. The task is one like any other, and is kept like any other."""
    if is_json(request):
        source, fields = (await read_json(request, ImageIn, most=65_536)).read()
        taken = await take_in(request, services, user, source, fields, idempotency_key)
    else:
        async with open_form(request) as form:
            taken = await take_in(request, services, user, *read_form(form), idempotency_key)
    task = await see_end(request, services, taken.task_id, user.id, wait=services.settings.sync_wait_seconds)
    if task.status == TaskStatus.COMPLETED:
        return await run_in_threadpool(picture, services, taken.task_id, user.id)
    if task.status in TERMINAL:
        raise failure(task.status, task.error_code, task.error_message)
    headers = {"Location": f"/api/v1/tasks/{taken.task_id}", "Retry-After": "2"}
    return JSONResponse(task.model_dump(mode="json"), 202, headers)


@router.post(
    "/remove-backgrounds",
    summary="Name images by their URLs, and get the addresses of all results",
    response_model=ImagesOut,
    responses={202: {"model": ImagesOut, **LATER}, **responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503)},
    openapi_extra={"requestBody": {"required": True, "content": {JSON: {"schema": ImagesIn.model_json_schema()}}}},
)
async def remove_backgrounds(
    request: Request,
    response: Response,
    services: ServicesDep,
    user: VisitingWriter,
    idempotency_key: IdempotencyKey = None,
) -> ImagesOut:
    """Waits for all of them, SYNC_WAIT_SECONDS at most; they are a batch. One that fails never fails the others."""
    images, fields = (await read_json(request, ImagesIn)).read(most=services.settings.max_batch_files)
    fields = {"priority": priority_of(len(images)), **fields}
    batch_id = await taken_in(request, response, services, user, images, fields, idempotency_key)
    task_ids = await run_in_threadpool(services.pipelines.task_ids, batch_id)
    await wait_for_all(request, services, task_ids, user.id)
    batch = (await run_in_threadpool(services.batches.get, batch_id, user.id)).batch
    told = ImagesOut.of(batch, await run_in_threadpool(services.batches.results, batch_id, user.id), images)
    response.status_code = 202 if told.status == "processing" else 200
    return told
