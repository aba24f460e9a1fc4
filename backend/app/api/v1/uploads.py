"""`POST /uploads`: an image comes in, by itself or by its name."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any
from uuid import UUID
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, fail_after
from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from app.api.bodies import let_go
from app.api.deps import Services, ServicesDep, Writer
from app.api.errors import responses
from app.api.schemas.tasks import Accepted, PresignIn, PresignOut, upload_form
from app.core.errors import InvalidRequest, ServiceUnavailable
from app.db.models import User
from app.services.accounts import OF_THE_HOUSE
from app.services.imports import ImageUrl, S3Key, SentFile, Source
from app.services.submission import Submission

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
MAX_FIELDS = 64
MAX_FIELD_BYTES = 65_536
WAYS = {"file", "s3_key", "image_url"}
ONE_OF_THEM = "exactly one of the form fields 'file' (with an image), 's3_key' and 'image_url' is expected"

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="The same key with the same request gives the same answer, and one task, for 24 hours.",
        # Only described: what is wrong with a key is no 422.
        json_schema_extra={"minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    ),
]

# Where the task that it answers goes on, for programs that read the description.
LINKS: dict[str, Any] = {
    name: {
        "operationId": f"{name}_api_v1_tasks__task_id_{rest}",
        "parameters": {"task_id": "$response.body#/task_id"},
    }
    for name, rest in {
        "get_task": "_get",
        "cancel_task": "_cancel_post",
        "retry_task": "_retry_post",
        "get_history": "_history_get",
        "delete_task": "_delete",
    }.items()
}


class Places:
    """For uploads that are being worked on: so many in all, and so many of one account."""

    def __init__(self, total: int, *, each: int) -> None:
        self._all, self._each = CapacityLimiter(total), each
        self._accounts = WeakValueDictionary[UUID, CapacityLimiter]()

    @asynccontextmanager
    async def one(self, user: User, patience: float = 2.0) -> AsyncIterator[None]:
        """Raises `ServiceUnavailable` when none gets free in so many seconds."""
        holder = object()
        each = self._all.total_tokens if user.email in OF_THE_HOUSE else self._each
        own = self._accounts.setdefault(user.id, CapacityLimiter(each))
        async with AsyncExitStack() as held:
            try:
                with fail_after(patience):
                    for places in (own, self._all):
                        await places.acquire_on_behalf_of(holder)
                        held.callback(places.release_on_behalf_of, holder)
            except TimeoutError as error:
                message = "Too many uploads are being taken in at the moment. Please try again."
                raise ServiceUnavailable(message, code="busy") from error
            yield


# Fewer than there are threads: an object store that does not answer must not take them all from those who only ask.
STORING = Places(16, each=12)

router = APIRouter(prefix="/uploads", tags=["uploads"])


@router.post(
    "",
    status_code=202,
    summary="Upload an image to have its background removed",
    responses={202: {"links": LINKS}, **responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503)},
    openapi_extra=upload_form(),
)
async def upload(
    request: Request,
    response: Response,
    services: ServicesDep,
    user: Writer,
    idempotency_key: IdempotencyKey = None,
) -> Accepted:
    # The body is read here and not by the framework, which would read all of it before it asks who is calling.
    async with open_form(request) as form:
        source, fields = read_form(form)
        taken = await take_in(request, services, user, source, fields, idempotency_key)
    return accepted(taken, response)


async def take_in(
    request: Request,
    services: Services,
    user: User,
    source: Source,
    fields: Mapping[str, object],
    idempotency_key: str | None,
) -> Submission:
    """Submit a picture that a request brings or names, with the options that it names."""
    named = {"request_id": request.state.request_id, "idempotency_key": idempotency_key}
    order = await run_in_threadpool(services.orders.read, user, fields, **named)
    async with STORING.one(user):
        return await run_in_threadpool(services.imports.submit, source, user=user, order=order)


def accepted(taken: Submission, response: Response) -> Accepted:
    """The answer to whoever has submitted a task."""
    if taken.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    response.headers["Location"] = f"/api/v1/tasks/{taken.task_id}"
    response.headers["Retry-After"] = "2"
    return Accepted(upload_id=taken.upload_id, task_id=taken.task_id)


@router.post(
    "/presign",
    status_code=201,
    summary="Get an address to put an image to, straight into the object store",
    responses=responses(401, 403, 413, 422, 429, 503),
)
def presign(asked: PresignIn, services: ServicesDep, user: Writer) -> PresignOut:
    signed = services.imports.presign(user, content_type=asked.content_type, size_bytes=asked.size_bytes)
    return PresignOut(s3_key=signed.key, url=signed.url, headers=signed.headers, expires_at=signed.expires_at)


@asynccontextmanager
async def open_form(
    request: Request, *, max_files: int = 2, max_fields: int = MAX_FIELDS, max_part_size: int = MAX_FIELD_BYTES
) -> AsyncIterator[FormData]:
    """The form with its files; closed, and its temporary files gone, afterwards."""
    kind = request.headers.get("content-type", FORMS[0])
    if not kind.strip().lower().startswith(FORMS):
        message = "This address expects a form: a body of the type multipart/form-data."
        raise InvalidRequest(message, code="unsupported_media_type")
    reading = Request(request.scope, request.receive)  # which keeps the form, and goes with it
    try:
        form = await reading.form(max_files=max_files, max_fields=max_fields, max_part_size=max_part_size)
    except (UnicodeError, LookupError) as error:  # the form names an encoding that it does not keep to
        message = "The form cannot be read: its text is not in the encoding that it names."
        raise InvalidRequest(message, code="malformed_body") from error
    except OSError as error:
        raise ServiceUnavailable("There is no room for uploads at the moment.", code="no_space") from error
    try:
        yield form
    finally:
        await form.close()
        let_go(request)


def read_form(form: FormData) -> tuple[Source, dict[str, object]]:
    """Where the picture is, and everything else by its name; `InvalidRequest` says what is wrong with the form."""
    # A field that is sent empty means its default, as browsers send it; likewise a file that nobody has chosen.
    items = [(name, value) for name, value in form.multi_items() if value != "" and not _is_unchosen(value)]
    ways = [(name, value) for name, value in items if name in WAYS]
    if len(ways) > 1:
        raise InvalidRequest(f"One image at a time: {ONE_OF_THEM}.", code="several_images")
    source = _source(*ways[0]) if ways else None
    if source is None:
        text = "; a part of the form is a file when it has a 'filename'" if ways else ""
        raise InvalidRequest(f"No image: {ONE_OF_THEM}{text}.", code="file_missing")
    options = [(name, value) for name, value in items if name not in WAYS]
    if twice := [name for name, times in Counter(name for name, _ in options).items() if times > 1]:
        raise InvalidRequest(f"{twice[0]}: is there more than once.", code="invalid_option")
    return source, dict[str, object](options)


def _is_unchosen(value: UploadFile | str) -> bool:
    return isinstance(value, UploadFile) and not value.filename and not value.size


def _source(name: str, value: UploadFile | str) -> Source | None:
    match name, value:
        case "file", UploadFile():
            return SentFile(value.file, value.filename)
        case "s3_key", str():
            return S3Key(value)
        case "image_url", str():
            return ImageUrl(value)
    return None
