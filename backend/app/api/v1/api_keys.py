"""`/api-keys`: credentials for programs."""

from uuid import UUID

from fastapi import APIRouter

from app.api.deps import Person, ServicesDep
from app.api.errors import responses
from app.api.schemas.accounts import ApiKeyList, ApiKeyOut, MadeApiKey, NewApiKey

router = APIRouter(prefix="/api-keys", tags=["accounts"], max_body_size=65_536)


@router.get("", summary="The account's API keys", responses=responses(401, 403, 429, 503))
def list_keys(services: ServicesDep, user: Person) -> ApiKeyList:
    """Those that have not been revoked; ones that have come to their end stand last."""
    return ApiKeyList(api_keys=[ApiKeyOut.of(key) for key in services.api_keys.owned(user)])


@router.post("", status_code=201, summary="Make an API key", responses=responses(401, 403, 409, 422, 429, 503))
def make_key(asked: NewApiKey, services: ServicesDep, user: Person) -> MadeApiKey:
    """The whole key is in this answer, and nowhere else: it is stored as a hash."""
    made, key = services.api_keys.make(user, name=asked.name, scopes=asked.scopes, expires=asked.expires)
    return MadeApiKey.of(made).model_copy(update={"key": key.text})


@router.delete(
    "/{key_id}", status_code=204, summary="Revoke an API key", responses=responses(401, 403, 404, 422, 429, 503)
)
def revoke_key(key_id: UUID, services: ServicesDep, user: Person) -> None:
    services.api_keys.revoke(user, key_id)
