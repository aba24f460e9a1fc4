"""`/usage`: what the caller has had, and may still have."""

from fastapi import APIRouter

from app.api.deps import Caller, ServicesDep
from app.api.errors import responses
from app.api.schemas.usage import UsageOut

router = APIRouter(prefix="/usage", tags=["accounts"])


@router.get(
    "", summary="The caller's use this month and before, and the limits in force", responses=responses(401, 429, 503)
)
def usage(services: ServicesDep, user: Caller) -> UsageOut:
    return UsageOut.told(services.usages.look(user))
