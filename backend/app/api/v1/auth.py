"""`/auth`: register, log in, who am I."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.security import OAuth2PasswordRequestForm

from app.api.deps import Caller, ServicesDep
from app.api.errors import responses
from app.api.schemas.accounts import Account, Registration, Token

router = APIRouter(prefix="/auth", tags=["accounts"], max_body_size=65_536)


@router.post("/register", status_code=201, summary="Make an account", responses=responses(403, 409, 422, 503))
def register(asked: Registration, services: ServicesDep) -> Account:
    return Account.of(services.accounts.register(asked.email, asked.password.get_secret_value()))


@router.post("/token", summary="Log in (OAuth2 password form)", responses=responses(401, 422, 503))
def log_in(form: Annotated[OAuth2PasswordRequestForm, Depends()], services: ServicesDep) -> Token:
    token = services.accounts.log_in(form.username, form.password)
    return Token(access_token=token, expires_in=services.settings.access_token_ttl_seconds)


@router.get("/me", summary="The account that is calling", responses=responses(401, 503))
def me(user: Caller) -> Account:
    return Account.of(user)
