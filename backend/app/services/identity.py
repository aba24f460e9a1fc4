"""Who is calling, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.db.models import User

ADMIN = "admin"


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"  # what only administrators may do
    METRICS = "metrics"


SCOPES = frozenset(Scope)
FOR_EVERYBODY = frozenset({Scope.READ, Scope.WRITE})


def scopes_of(user: User) -> frozenset[Scope]:
    """Everything that the account may do, as it is now: a key keeps no scope that its account has lost."""
    return SCOPES if user.role == ADMIN else FOR_EVERYBODY


@dataclass(frozen=True)
class Principal:
    """An account, by one of its credentials."""

    user: User
    scopes: frozenset[Scope]
    login_id: UUID | None = None  # of a token; the shell's tokens belong to no login
    key_id: UUID | None = None  # of an API key

    @property
    def is_person(self) -> bool:
        """Whether it is here with a token, and not with an API key."""
        return self.key_id is None
