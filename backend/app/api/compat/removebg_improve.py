"""`POST /v1.0/improve`: a picture that was cut out badly is left for the operator (`IMPROVE_ENABLED`)."""

from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.api.compat.removebg_bodies import Sent, open_body, read_source
from app.api.compat.removebg_limits import rate_headers
from app.api.deps import Services, ServicesDep, VisitingWriter
from app.api.errors import responses
from app.api.middleware import largest_body
from app.api.schemas.removebg_account import ImprovementOut, improve_form
from app.api.v1.uploads import STORING
from app.core.errors import InvalidRequest
from app.db.models import User
from app.services.imports import SentFile

router = APIRouter(prefix="/v1.0", tags=["remove.bg"])


@router.post(
    "/improve",
    summary="Leave a picture that was cut out badly",
    responses=responses(400, 403, 429, 503),
    openapi_extra=improve_form(),
)
async def improve(request: Request, response: Response, services: ServicesDep, user: VisitingWriter) -> ImprovementOut:
    services.improving.check()
    async with open_body(request, most=largest_body(services.settings)) as sent, STORING.one(user):
        kept = await run_in_threadpool(_keep, services, user, sent)
        response.headers.update(await run_in_threadpool(rate_headers, request, services, user))
    return ImprovementOut(id=kept)


def _keep(services: Services, user: User, sent: Sent) -> UUID:
    source = read_source(sent)
    if not isinstance(source, SentFile):  # who fetches is the worker, and it is given no task here
        message = "/v1.0/improve fetches nothing; send the picture as image_file or image_file_b64."
        raise InvalidRequest(message, code="failed_image_download")
    texts = sent.texts
    return services.improving.keep(source, user=user, filename=texts.get("image_filename"), tag=texts.get("tag"))
