"""`/v1.0/removebg`: remove.bg's address, for programs that were written for it."""

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from app.api.compat.calls import PATIENCE, answered
from app.api.compat.removebg_answers import answer, headers, wants_json
from app.api.compat.removebg_bodies import Sent, open_body, read_source
from app.api.compat.removebg_fields import read_fields
from app.api.compat.removebg_limits import rate_headers
from app.api.deps import Services, ServicesDep, VisitingWriter
from app.api.errors import responses
from app.api.finishing import send_result
from app.api.middleware import largest_body
from app.api.schemas.removebg import ANSWER, removal_body
from app.api.v1.uploads import STORING, IdempotencyKey
from app.core.backgrounds import S3
from app.db.models import User
from app.services.given_up import Call

router = APIRouter(prefix="/v1.0", tags=["remove.bg"])


@router.post(
    "/removebg",
    summary="Remove the background of an image, as remove.bg did",
    response_class=Response,
    responses={200: ANSWER, **responses(400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 503)},
    openapi_extra=removal_body(),
)
async def remove_background(
    request: Request, services: ServicesDep, user: VisitingWriter, idempotency_key: IdempotencyKey = None
) -> Response:
    """Waits for it, DROP_IN_WAIT_SECONDS at most. Who asks for the same again then gets what has become of it."""
    call, kind = await _take_in(request, services, user, idempotency_key)
    return await answered(request, services, user, call, lambda: _answer(request, services, user, call, kind))


async def _take_in(
    request: Request, services: Services, user: User, idempotency_key: str | None
) -> tuple[Call, str | None]:
    """The call, and the kind of subject that is told. Nothing of the body is kept: many wait at a time."""
    async with open_body(request, most=largest_body(services.settings)) as sent, STORING.one(user, PATIENCE):
        return await run_in_threadpool(_begin, request, services, user, sent, idempotency_key)


def _begin(
    request: Request, services: Services, user: User, sent: Sent, idempotency_key: str | None
) -> tuple[Call, str | None]:
    source, wanted = read_source(sent), read_fields(sent)
    options = dict(wanted.options)
    if wanted.background is not None:
        services.imports.check(source)  # before anything is stored
        # Where the worker finds it, however often it has to begin anew.
        options["background"] = S3 + services.imports.put_by(wanted.background.file, user)
    request_id = request.state.request_id
    order = services.orders.read(user, options, request_id=request_id, idempotency_key=idempotency_key)
    return services.given_up.begin(source, user=user, order=order), wanted.type


def _answer(request: Request, services: Services, user: User, call: Call, kind: str | None) -> StreamingResponse:
    task = services.statuses.get(call.task_id, user.id).task
    as_json = wants_json(request)
    made = send_result(services, task.id, user.id, lambda found: answer(found, task, as_json=as_json))
    made.headers.update(headers(task, kind) | rate_headers(request, services, user))
    return made
