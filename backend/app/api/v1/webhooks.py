"""`/webhook-secret` and `/webhook-deliveries`: who is told of what, and how that went."""

from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from app.api.deps import Caller, Person, ServicesDep, Writer
from app.api.errors import responses
from app.api.schemas.webhooks import DeliveryDetail, DeliveryOut, DeliveryPage, DeliveryStatus, WebhookSecretOut

router = APIRouter(tags=["webhooks"])


@router.get("/webhook-secret", summary="What webhooks are signed with", responses=responses(401, 403, 503))
def get_secret(services: ServicesDep, user: Person) -> WebhookSecretOut:
    """One is made if there is none."""
    return WebhookSecretOut.of(services.webhooks.signing(user.id))


@router.post("/webhook-secret/rotate", summary="Make a new secret for webhooks", responses=responses(401, 403, 503))
def rotate_secret(services: ServicesDep, user: Person) -> WebhookSecretOut:
    """For 24 hours messages bear two signatures: of the new secret, and of the one before."""
    return WebhookSecretOut.of(services.webhooks.rotate(user.id))


@router.get(
    "/webhook-deliveries", summary="The account's webhook messages, newest first", responses=responses(401, 422, 503)
)
def list_deliveries(
    request: Request,
    response: Response,
    services: ServicesDep,
    user: Caller,
    status: DeliveryStatus | None = None,
    task_id: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> DeliveryPage:
    """Those that have ended are kept for 30 days."""
    found, more = services.webhooks.page(user.id, limit=limit, status=status, task_id=task_id, cursor=cursor)
    if more is not None:
        query = urlencode({**request.query_params, "cursor": more})
        response.headers["Link"] = f'<{request.scope["path"]}?{query}>; rel="next"'
    return DeliveryPage(deliveries=[DeliveryOut.of(delivery) for delivery in found], next_cursor=more)


@router.get(
    "/webhook-deliveries/{delivery_id}",
    summary="A webhook message, and each try to deliver it",
    responses=responses(401, 404, 422, 503),
)
def get_delivery(delivery_id: UUID, services: ServicesDep, user: Caller) -> DeliveryDetail:
    return DeliveryDetail.told(*services.webhooks.get(delivery_id, user.id))


@router.post(
    "/webhook-deliveries/{delivery_id}/redeliver",
    status_code=202,
    summary="Try to deliver a webhook message again",
    responses=responses(401, 404, 409, 422, 503),
)
def redeliver(delivery_id: UUID, services: ServicesDep, user: Writer) -> DeliveryDetail:
    """At once, and even if its address is disabled: when that takes it, the address gets messages again."""
    services.webhooks.redeliver(delivery_id, user)
    return DeliveryDetail.told(*services.webhooks.get(delivery_id, user.id))
