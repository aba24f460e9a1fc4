"""What endpoints ask for: the use cases of this process, and who is calling."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, OAuth2PasswordBearer, SecurityScopes

from app.api.drain import Drain
from app.api.limits import count_request
from app.api.metrics import Metrics
from app.core.config import Settings
from app.core.errors import Forbidden, NotAuthenticated
from app.db.models import User
from app.services.accounts import GUESTS, Accounts
from app.services.administration import Administration
from app.services.api_keys import ApiKeys
from app.services.batches import Batches
from app.services.changes import Changes
from app.services.control import Control
from app.services.given_up import GivenUp
from app.services.health import Health
from app.services.identity import Principal, Scope, scopes_of
from app.services.imports import Imports
from app.services.improving import Improving
from app.services.limits import Limits
from app.services.logins import Logins
from app.services.orders import Orders
from app.services.pipelines import Pipelines
from app.services.recipes import Recipes
from app.services.retention import Retention
from app.services.status import Statuses
from app.services.usage import Usages
from app.services.webhooks import Webhooks


@dataclass(frozen=True)
class Services:
    """Everything that the endpoints work with, made once for each process."""

    settings: Settings
    accounts: Accounts
    logins: Logins
    api_keys: ApiKeys
    imports: Imports
    given_up: GivenUp
    batches: Batches
    statuses: Statuses
    control: Control
    administration: Administration
    retention: Retention
    health: Health
    metrics: Metrics
    drain: Drain
    changes: Changes
    limits: Limits
    usages: Usages
    webhooks: Webhooks
    recipes: Recipes
    orders: Orders
    pipelines: Pipelines
    improving: Improving


DESCRIBED = {
    Scope.READ: "see tasks, results and the account",
    Scope.WRITE: "upload, cancel, retry, delete",
    Scope.ADMIN: "what administrators do",
    Scope.METRICS: "read /metrics",
}
bearer = OAuth2PasswordBearer(
    tokenUrl="/api/v1/auth/token",
    refreshUrl="/api/v1/auth/refresh",
    scopes={str(scope): text for scope, text in DESCRIBED.items()},
    auto_error=False,
)
api_key = APIKeyHeader(name="X-API-Key", auto_error=False)
CREDENTIALS = frozenset({"authorization", "x-api-key"})  # headers


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


async def _services(request: Request) -> Services:
    return services(request)  # in the event loop: not worth a thread


ServicesDep = Annotated[Services, Depends(_services)]


def authenticate(services: Services, token: str | None, key: str | None) -> Principal:
    """Who has these credentials; with both, the token counts. Blocks."""
    if token is not None:
        return services.logins.authenticate(token)
    if key is not None:
        return services.api_keys.authenticate(key.strip())
    raise NotAuthenticated(
        "Authentication is needed: send an access token as 'Authorization: Bearer …', or an API key as 'X-API-Key: …'."
    )


def principal(
    request: Request,
    services: ServicesDep,
    token: Annotated[str | None, Depends(bearer)],
    key: Annotated[str | None, Depends(api_key)],
) -> Principal:
    """Who is calling, and with what."""
    found = authenticate(services, token, key)
    request.state.account = found.user.id  # for whom the body's room is counted
    count_request(request, found.user, services.limits)
    return found


async def _account(who: Annotated[Principal, Depends(principal)], needed: SecurityScopes) -> User:
    """The caller, who has to be an administrator where only these may be, with credentials for what he asks for."""
    wanted = {Scope(scope) for scope in needed.scopes}
    if not wanted <= scopes_of(who.user):
        raise Forbidden("Only an administrator may do this.")
    if missing := wanted - who.scopes:
        words = ", ".join(sorted(missing))
        raise Forbidden(f"This API key may not do this: it lacks the scope {words}.", code="insufficient_scope")
    return who.user


async def _logged_in(who: Annotated[Principal, Depends(principal)]) -> Principal:
    if not who.is_person:
        raise Forbidden("This needs an access token: an API key may not do it.", code="insufficient_scope")
    return who


async def _person(who: Annotated[Principal, Depends(_logged_in)]) -> User:
    return who.user


def _visitor(
    request: Request,
    services: ServicesDep,
    token: Annotated[str | None, Depends(bearer)],
    key: Annotated[str | None, Depends(api_key)],
) -> Principal:
    """Likewise; where the doors are open, a stranger is a guest. Who shows anything is none, good or not."""
    if services.settings.open_doors and CREDENTIALS.isdisjoint(request.headers):
        guest = services.accounts.of_the_house(GUESTS)
        count_request(request, guest, services.limits)
        return Principal(guest, scopes_of(guest))
    return principal(request, services, token, key)


async def _visiting(who: Annotated[Principal, Depends(_visitor)], needed: SecurityScopes) -> User:
    return await _account(who, needed)


# Who may call an endpoint; each is the account.
Caller = Annotated[User, Security(_account, scopes=[Scope.READ])]
Writer = Annotated[User, Security(_account, scopes=[Scope.WRITE])]
Visitor = Annotated[User, Security(_visiting, scopes=[Scope.READ])]  # `OPEN_DOORS`: also one without credentials
VisitingWriter = Annotated[User, Security(_visiting, scopes=[Scope.WRITE])]
Administrator = Annotated[User, Security(_account, scopes=[Scope.ADMIN])]
Person = Annotated[User, Depends(_person)]  # with a token: API keys do not manage keys, passwords or logins
LoggedIn = Annotated[Principal, Depends(_logged_in)]  # likewise, with its login
