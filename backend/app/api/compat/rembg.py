"""`/api/remove`: the address of rembg's server (`rembg s`), for programs that were written for it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from app.api.compat.calls import PATIENCE, answered
from app.api.deps import Services, ServicesDep, VisitingWriter
from app.api.errors import responses
from app.api.finishing import picture
from app.api.schemas.rembg import PICTURE, QUERY, Named, Parameters, form
from app.api.v1.uploads import STORING, IdempotencyKey, open_form
from app.core.errors import InvalidRequest
from app.core.models import Model
from app.core.validation import sentence
from app.db.models import User
from app.services.given_up import Call
from app.services.imports import ImageUrl, SentFile, Source

router = APIRouter(prefix="/api", tags=["rembg"])


@router.get(
    "/remove",
    summary="Name an image by its URL, and get the picture itself, as from rembg's server",
    response_class=Response,
    responses={200: PICTURE, **responses(401, 403, 409, 410, 413, 415, 422, 429, 503)},
)
async def remove_by_url(
    request: Request,
    services: ServicesDep,
    user: VisitingWriter,
    asked: Annotated[Named, Query()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    call = await _begun(request, services, user, ImageUrl(asked.url), asked, idempotency_key)
    return await _ended(request, services, user, call, asked)


@router.post(
    "/remove",
    summary="Send an image, and get the picture itself, as from rembg's server",
    response_class=Response,
    responses={200: PICTURE, **responses(400, 401, 403, 409, 410, 413, 415, 422, 429, 503)},
    openapi_extra=form(),
)
async def remove_file(
    request: Request, services: ServicesDep, user: VisitingWriter, idempotency_key: IdempotencyKey = None
) -> Response:
    async with open_form(request) as sent:
        source, asked = _read(sent, {name: request.query_params.get(name) for name in QUERY})
        call = await _begun(request, services, user, source, asked, idempotency_key)
    return await _ended(request, services, user, call, asked)


def _read(sent: FormData, query: dict[str, str | None]) -> tuple[Source, Parameters]:
    """The file and the parameters, the last of each name; `InvalidRequest` says what is wrong."""
    file = sent.get("file")
    if not isinstance(file, UploadFile) or not (file.filename or file.size):
        raise InvalidRequest("file: an image is expected in this field of the form.", code="file_missing")
    fields = {name: value for name, value in sent.items() if isinstance(value, str) and name not in QUERY}
    try:
        asked = Parameters.model_validate(fields | query)
    except ValidationError as error:
        raise InvalidRequest(sentence(error.errors(), quote=True), code="invalid_option") from error
    return SentFile(file.file, file.filename), asked


async def _begun(
    request: Request, services: Services, user: User, source: Source, asked: Parameters, idempotency_key: str | None
) -> Call:
    named = {"request_id": request.state.request_id, "idempotency_key": idempotency_key}
    order = await run_in_threadpool(services.orders.read, user, asked.options(), **named)
    async with STORING.one(user, PATIENCE):
        return await run_in_threadpool(services.given_up.begin, source, user=user, order=order)


async def _ended(request: Request, services: Services, user: User, call: Call, asked: Parameters) -> Response:
    return await answered(request, services, user, call, lambda: _answer(services, user, call, asked.model))


def _answer(services: Services, user: User, call: Call, model: Model | None) -> StreamingResponse:
    made = picture(services, call.task_id, user.id)
    made.headers["X-Model"] = model or Model.ISNET_GENERAL_USE
    return made
