"""`/batches`: many pictures at once."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.datastructures import FormData, UploadFile

from app.api.bodies import is_json, read_json
from app.api.deps import Caller, Services, ServicesDep, VisitingWriter, Visitor
from app.api.errors import responses
from app.api.schemas.batches import BatchOut, BatchPage, BatchWithItems, ItemOut, NewBatch, batch_request
from app.api.schemas.tasks import upload_form
from app.api.v1.uploads import MAX_FIELDS, IdempotencyKey, Places, open_form
from app.core.errors import Conflict, InvalidRequest
from app.db.models import User
from app.services.batches import Part, Wanted
from app.services.imports import ImageUrl, S3Key, SentFile
from app.services.packing import packed

NAMED = {"image_url", "s3_key"}

# A batch holds a thread for as long as it takes: few at a time, and one of each account.
INTAKE = Places(4, each=1)
PATIENCE = 30.0  # seconds: what has been sent once should not have to be sent again

router = APIRouter(prefix="/batches", tags=["batches"])


@router.post(
    "",
    status_code=202,
    summary="Take in many pictures: files, zip archives, URLs, keys, CSV lists",
    responses=responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=batch_request(upload_form()),
)
async def make_batch(
    request: Request,
    response: Response,
    services: ServicesDep,
    user: VisitingWriter,
    idempotency_key: IdempotencyKey = None,
) -> BatchOut:
    """One bad picture never fails the others: it is listed under `refused`, with its reason."""
    if is_json(request):
        parts = _from_json(await read_json(request, NewBatch), services)
        batch_id = await submit_parts(request, response, services, user, *parts, idempotency_key)
    else:
        async with open_batch_form(request, services) as form:
            batch_id = await submit_parts(request, response, services, user, *read_parts(form), idempotency_key)
    return BatchOut.of(await run_in_threadpool(services.batches.get, batch_id, user.id))


def open_batch_form(request: Request, services: Services) -> AbstractAsyncContextManager[FormData]:
    """As `open_form`, with as many files and fields as a batch may have."""
    most = services.settings.max_batch_files
    return open_form(request, max_files=most, max_fields=2 * most + MAX_FIELDS)


async def submit_parts(
    request: Request,
    response: Response,
    services: Services,
    user: User,
    parts: list[Part],
    named: dict[str, Any],
    idempotency_key: str | None,
) -> UUID:
    """Submit the batch that a request brings, with the options that it names."""
    if not parts:
        raise InvalidRequest("No pictures: files, zip archives, image URLs or keys are expected.", code="file_missing")
    name = named.pop("name", None) or None
    return await taken_in(request, response, services, user, parts, named, idempotency_key, name)


async def taken_in(
    request: Request,
    response: Response,
    services: Services,
    user: User,
    parts: Sequence[Part],
    fields: Mapping[str, object],
    idempotency_key: str | None,
    name: str | None = None,
) -> UUID:
    """Submit a batch, and say in the answer's headers where it is."""
    wanted = Wanted(fields, name, request_id=request.state.request_id, idempotency_key=idempotency_key)
    async with INTAKE.one(user, PATIENCE):
        batch_id, replayed = await run_in_threadpool(services.batches.submit, user, parts, wanted)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    response.headers["Location"] = f"/api/v1/batches/{batch_id}"
    return batch_id


def read_parts(form: FormData, *, files: str = "file") -> tuple[list[Part], dict[str, Any]]:
    """The pictures, whose files are fields of this name, and everything else by its name. Raises `InvalidRequest`."""
    parts: list[Part] = []
    named: list[tuple[str, str]] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != files:
                raise InvalidRequest(f"{name}: a file is expected in fields called '{files}'.", code="file_missing")
            if value.filename or value.size:
                parts.append(SentFile(value.file, value.filename))
        elif name == "image_url" and value:
            parts.append(ImageUrl(value))
        elif name == "s3_key" and value:
            parts.append(S3Key(value))
        elif name in {files, *NAMED} or not value:
            continue
        else:
            named.append((name, value))
    if twice := [name for name, times in Counter(name for name, _ in named).items() if times > 1]:
        raise InvalidRequest(f"{twice[0]}: is there more than once.", code="invalid_option")
    return parts, dict(named)


def _from_json(asked: NewBatch, services: Services) -> tuple[list[Part], dict[str, Any]]:
    if len(asked.image_urls) + len(asked.s3_keys) > services.settings.max_batch_files:
        message = f"A batch may have {services.settings.max_batch_files} pictures; send the others in another one."
        raise InvalidRequest(message, code="too_many_files")
    parts: list[Part] = [*map(ImageUrl, asked.image_urls), *map(S3Key, asked.s3_keys)]
    return parts, (asked.model_extra or {}) | {"name": asked.name}


@router.get("", summary="The caller's batches, newest first", responses=responses(401, 422, 503))
def list_batches(
    services: ServicesDep,
    user: Caller,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> BatchPage:
    views, more = services.batches.page(user.id, limit=limit, cursor=cursor)
    return BatchPage(batches=[BatchOut.of(view) for view in views], next_cursor=more)


@router.get("/{batch_id}", summary="How far a batch is, item by item", responses=responses(401, 404, 422, 503))
def get_batch(batch_id: UUID, services: ServicesDep, user: Visitor) -> BatchWithItems:
    told = BatchOut.of(services.batches.get(batch_id, user.id))
    items = [ItemOut.of(task) for task in services.batches.items(batch_id, user.id)]
    return BatchWithItems(**dict(told), items=items)


@router.post("/{batch_id}/cancel", summary="End what has not ended", responses=responses(401, 404, 422, 503))
def cancel_batch(batch_id: UUID, services: ServicesDep, user: VisitingWriter) -> BatchOut:
    services.batches.cancel(batch_id, user.id)
    return BatchOut.of(services.batches.get(batch_id, user.id))


@router.get(
    "/{batch_id}/archive",
    summary="All results as one zip, under the names that the pictures came with",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}}, **responses(401, 404, 409, 422, 503)},
)
def get_archive(batch_id: UUID, services: ServicesDep, user: Visitor, partial: bool = False) -> StreamingResponse:
    """`report.csv` in it tells what became of each. With `partial`, what is finished so far."""
    view = services.batches.get(batch_id, user.id)
    if view.counts.unfinished and not partial:
        message = f"{view.counts.unfinished} pictures of this batch are still at work; `partial=true` takes the others."
        raise Conflict(message, code="batch_not_finished")
    tasks = services.batches.items(batch_id, user.id)
    content: Iterator[bytes] = packed(services.batches.store, tasks, view.batch.refused)
    name = quote(f"{view.batch.name or batch_id}.zip", safe="")
    headers = {"Content-Disposition": f"attachment; filename=\"{batch_id}.zip\"; filename*=UTF-8''{name}"}
    return StreamingResponse(content, media_type="application/zip", headers=headers)
