"""`GET /v1.0/account`, which clients of remove.bg ask first. A credit is a picture of the month."""

from fastapi import APIRouter, Request, Response

from app.api.compat.removebg_limits import rate_headers
from app.api.deps import ServicesDep, Visitor
from app.api.errors import responses
from app.api.schemas.removebg_account import AccountOut

router = APIRouter(prefix="/v1.0", tags=["remove.bg"])


@router.get(
    "/account",
    summary="The credits that are left, as remove.bg tells them",
    responses=responses(403, 429, 503),
)
def account(request: Request, response: Response, services: ServicesDep, user: Visitor) -> AccountOut:
    response.headers.update(rate_headers(request, services, user))
    return AccountOut.told(services.usages.look(user).left.get("images_per_month"))
