"""`/auth`: register, log in and out, who am I."""

from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.security import OAuth2PasswordRequestForm

from app.api.deps import Caller, LoggedIn, Person, ServicesDep
from app.api.errors import responses
from app.api.limits import stranger
from app.api.schemas.accounts import Account, PasswordChange, Refresh, Registration, Token

# A hash takes 19 MiB and a core. A flood of logins waits here, and not in the threads that everything else needs.
HASHING = CapacityLimiter(2)

router = APIRouter(prefix="/auth", tags=["accounts"], max_body_size=65_536)


@router.post(
    "/register",
    status_code=201,
    summary="Make an account",
    dependencies=[Depends(stranger)],
    responses=responses(403, 409, 422, 429, 503),
)
async def register(asked: Registration, services: ServicesDep) -> Account:
    password = asked.password.get_secret_value()
    user = await to_thread.run_sync(services.accounts.register, asked.email, password, limiter=HASHING)
    return Account.of(user, services.settings)


@router.post(
    "/token",
    summary="Log in (OAuth2 password form)",
    dependencies=[Depends(stranger)],
    responses=responses(401, 422, 429, 503),
)
async def log_in(
    request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()], services: ServicesDep
) -> Token:
    """After too many wrong passwords, further ones have to wait: `Retry-After` says how long."""
    tokens = await to_thread.run_sync(
        services.logins.log_in, form.username, form.password, _address(request), limiter=HASHING
    )
    return Token.of(tokens)


@router.post(
    "/refresh",
    summary="Fresh tokens for a refresh token",
    dependencies=[Depends(stranger)],
    responses=responses(401, 422, 429, 503),
)
def refresh(asked: Refresh, services: ServicesDep) -> Token:
    """Each refresh token holds once. One that is used again ends its login, and with it all of its tokens."""
    return Token.of(services.logins.refresh(asked.refresh_token.get_secret_value()))


@router.post("/logout", status_code=204, summary="End this login", responses=responses(401, 403, 409, 429, 503))
def log_out(who: LoggedIn, services: ServicesDep) -> None:
    """None of its tokens holds from here on."""
    services.logins.log_out(who)


@router.post("/password", summary="Change the password", responses=responses(401, 403, 409, 422, 429, 503))
async def change_password(asked: PasswordChange, user: Person, services: ServicesDep) -> Token:
    """Ends every login of the account, and answers with the tokens of a new one. API keys stay."""
    current, new = asked.current_password.get_secret_value(), asked.new_password.get_secret_value()
    tokens = await to_thread.run_sync(services.logins.change_password, user, current, new, limiter=HASHING)
    return Token.of(tokens)


@router.get("/me", summary="The account that is calling", responses=responses(401, 403, 429, 503))
def me(user: Caller, services: ServicesDep) -> Account:
    return Account.of(user, services.settings)


def _address(request: Request) -> str | None:
    return request.client.host if request.client else None
