"""What endpoints ask for: the use cases of this process, and who is calling."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer

from app.api.drain import Drain
from app.api.metrics import Metrics
from app.core.config import Settings
from app.core.errors import Forbidden, NotAuthenticated
from app.db.models import User
from app.services.accounts import Accounts
from app.services.administration import Administration
from app.services.changes import Changes
from app.services.control import Control
from app.services.health import Health
from app.services.retention import Retention
from app.services.status import Statuses
from app.services.submission import Submissions


@dataclass(frozen=True)
class Services:
    """Everything that the endpoints work with, made once for each process."""

    settings: Settings
    accounts: Accounts
    submissions: Submissions
    statuses: Statuses
    control: Control
    administration: Administration
    retention: Retention
    health: Health
    metrics: Metrics
    drain: Drain
    changes: Changes


bearer = OAuth2PasswordBearer(tokenUrl="/api/v1/auth/token", auto_error=False)


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]


def caller(services: ServicesDep, token: Annotated[str | None, Depends(bearer)]) -> User:
    """The account that the request speaks for."""
    if token is None:
        raise NotAuthenticated("Authentication is needed: send an access token as 'Authorization: Bearer …'.")
    return services.accounts.authenticate(token)


Caller = Annotated[User, Depends(caller)]


def administrator(user: Caller) -> User:
    """The caller, who has to be an administrator."""
    if user.role != "admin":
        raise Forbidden("Only an administrator may do this.")
    return user


Administrator = Annotated[User, Depends(administrator)]
