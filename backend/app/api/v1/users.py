"""`/admin/users`: everybody's accounts, for administrators."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.api.deps import Administrator, ServicesDep
from app.api.errors import responses
from app.api.schemas.accounts import AccountChange, AccountOfOthers, AccountPage

Beginning = Annotated[str, Query(max_length=254, pattern=r"^[^\x00]*$", description="How the address begins.")]

router = APIRouter(prefix="/admin/users", tags=["administration"], max_body_size=65_536)


@router.get("", summary="Accounts, newest first", responses=responses(401, 403, 422, 429, 503))
def list_users(
    services: ServicesDep,
    _: Administrator,
    email: Beginning = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> AccountPage:
    users, more = services.accounts.page(limit=limit, beginning=email, cursor=cursor)
    return AccountPage(users=[AccountOfOthers.model_validate(user) for user in users], next_cursor=more)


@router.patch("/{user_id}", summary="Change an account", responses=responses(401, 403, 404, 409, 422, 429, 503))
def change_user(
    user_id: UUID, asked: AccountChange, services: ServicesDep, administrator: Administrator
) -> AccountOfOthers:
    """Holds from the account's next request on. Administrators cannot disable themselves, nor give up their role."""
    changed = services.accounts.change(user_id, asked.model_dump(exclude_unset=True), by=administrator)
    return AccountOfOthers.model_validate(changed)
