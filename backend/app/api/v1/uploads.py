"""`POST /uploads`: an image comes in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from anyio import CapacityLimiter, fail_after
from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from app.api.deps import Caller, ServicesDep
from app.api.errors import responses
from app.api.schemas.tasks import Accepted, upload_form
from app.core.errors import InvalidRequest, ServiceUnavailable
from app.core.options import RemovalOptions, read_options

MAX_FIELDS = 16
MAX_FIELD_BYTES = 65_536

# Fewer than there are threads: an object store that does not answer must not take them all from those who only ask.
STORING = CapacityLimiter(16)
PATIENCE = 2.0  # seconds

IdempotencyKey = Annotated[
    str | None,
    Header(description="The same key with the same request gives the same answer, and one task, for 24 hours."),
]

router = APIRouter(prefix="/uploads", tags=["uploads"])


@router.post(
    "",
    status_code=202,
    summary="Upload an image to have its background removed",
    responses=responses(400, 401, 409, 413, 415, 422, 503),
    openapi_extra=upload_form(),
)
async def upload(
    request: Request,
    response: Response,
    services: ServicesDep,
    user: Caller,
    idempotency_key: IdempotencyKey = None,
) -> Accepted:
    # The body is read here and not by the framework, which would read all of it before it asks who is calling.
    async with open_form(request) as form:
        file, options = read_form(form)
        async with a_place():
            taken = await run_in_threadpool(
                services.submissions.submit,
                file.file,
                user_id=user.id,
                filename=file.filename,
                options=options,
                request_id=request.state.request_id,
                idempotency_key=idempotency_key,
            )
    if taken.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    response.headers["Location"] = f"/api/v1/tasks/{taken.task_id}"
    response.headers["Retry-After"] = "2"
    return Accepted(upload_id=taken.upload_id, task_id=taken.task_id)


@asynccontextmanager
async def a_place() -> AsyncIterator[None]:
    """One of the places for uploads that are being stored; `ServiceUnavailable` when none gets free in time."""
    holder = object()
    try:
        with fail_after(PATIENCE):
            await STORING.acquire_on_behalf_of(holder)
    except TimeoutError as error:
        message = "Too many uploads are being stored at the moment. Please try again."
        raise ServiceUnavailable(message, code="busy") from error
    try:
        yield
    finally:
        STORING.release_on_behalf_of(holder)


@asynccontextmanager
async def open_form(request: Request) -> AsyncIterator[FormData]:
    """The form with its one file; closed, and its temporary file gone, afterwards."""
    try:
        form = await request.form(max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
    except (UnicodeError, LookupError) as error:  # the form names an encoding that it does not keep to
        message = "The form cannot be read: its text is not in the encoding that it names."
        raise InvalidRequest(message, code="malformed_body") from error
    except OSError as error:
        raise ServiceUnavailable("There is no room for uploads at the moment.", code="no_space") from error
    try:
        yield form
    finally:
        await form.close()


def read_form(form: FormData) -> tuple[UploadFile, RemovalOptions]:
    """The one file and the options of an upload's form; `InvalidRequest` names what is wrong with it."""
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise InvalidRequest("file: an image is expected in the form field 'file'.", code="file_missing")
    fields = {name: value for name, value in form.multi_items() if name != "file"}
    # A field that is sent empty means its default, as browsers send it.
    return file, read_options({name: value for name, value in fields.items() if value != ""})
