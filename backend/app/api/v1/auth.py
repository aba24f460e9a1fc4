"""`/auth`: register, log in, who am I."""

from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends
from fastapi.security import OAuth2PasswordRequestForm

from app.api.deps import Caller, ServicesDep
from app.api.errors import responses
from app.api.schemas.accounts import Account, Registration, Token

# A hash takes 19 MiB and a core. A flood of logins waits here, and not in the threads that everything else needs.
HASHING = CapacityLimiter(2)

router = APIRouter(prefix="/auth", tags=["accounts"], max_body_size=65_536)


@router.post("/register", status_code=201, summary="Make an account", responses=responses(403, 409, 422, 503))
async def register(asked: Registration, services: ServicesDep) -> Account:
    password = asked.password.get_secret_value()
    return Account.of(await to_thread.run_sync(services.accounts.register, asked.email, password, limiter=HASHING))


@router.post("/token", summary="Log in (OAuth2 password form)", responses=responses(401, 422, 503))
async def log_in(form: Annotated[OAuth2PasswordRequestForm, Depends()], services: ServicesDep) -> Token:
    token = await to_thread.run_sync(services.accounts.log_in, form.username, form.password, limiter=HASHING)
    return Token(access_token=token, expires_in=services.settings.access_token_ttl_seconds)


@router.get("/me", summary="The account that is calling", responses=responses(401, 503))
def me(user: Caller) -> Account:
    return Account.of(user)
