"""Accounts: who has one, and what administrators make of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from email_validator import EmailNotValidError, validate_email
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.errors import Conflict, Forbidden, InvalidRequest, NotFound
from app.core.logging import get_logger
from app.core.security import MAX_PASSWORD_BYTES, hash_password
from app.core.validation import is_text
from app.db import users
from app.db.base import Sessions
from app.db.models import User
from app.services.identity import ADMIN
from app.services.status import make_cursor, read_cursor

MIN_PASSWORD = 8
MAX_EMAIL = 254
GUESTS = "guests@localhost"  # strangers, where the doors are open
CELERY = "celery@localhost"  # other Celery clients
OF_THE_HOUSE = frozenset({GUESTS, CELERY})

log = get_logger(__name__)


def is_of_the_house(session: Session, user_id: UUID) -> bool:
    """Whether many share this account, who know nothing of each other."""
    user = users.by_id(session, user_id)
    return user is not None and user.email in OF_THE_HOUSE


class Promotion(StrEnum):
    CREATED = "created"
    PROMOTED = "promoted"
    NONE = "none"  # it was an administrator before


@dataclass(frozen=True)
class Accounts:
    """The use cases with the parts that they work on."""

    settings: Settings
    sessions: Sessions

    def register(self, email: str, password: str) -> User:
        if not self.settings.registration_enabled:
            raise Forbidden("Registration is switched off on this server.", code="registration_disabled")
        password_hash = hashed(password)
        with self.sessions.begin() as session:
            user = users.create(session, uuid4(), email.lower(), password_hash=password_hash)
        if user is None:
            raise Conflict("There is an account with this address already.", code="email_taken")
        return user

    def of_the_house(self, email: str) -> User:
        """An account that nobody logs in to, made when it is first needed: whoever has none of his own works in it."""
        with self.sessions.begin() as session:
            found = users.by_email(session, email) or users.create(session, uuid4(), email)
            user = found or users.by_email(session, email)  # somebody else has made it at this moment
        if user is None or not user.is_active:
            raise Forbidden("This way in is closed at the moment.", code="account_disabled")
        return user

    def exists(self, email: str) -> bool:
        with self.sessions.begin() as session:
            return users.by_email(session, as_registered(email)) is not None

    def make_admin(self, email: str, password: str | None) -> Promotion:
        """Make an administrator, or make one of an existing account, whose password is changed if one is given.

        A new password ends every login there is. Raises `InvalidRequest` for an address or a password that
        registration would refuse, too, and for a new account without a password.
        """
        password_hash = None if password is None else hashed(password)
        address = as_registered(email)
        if address in OF_THE_HOUSE:
            raise InvalidRequest(f"{address} is an account of the service's own: nobody logs in to it.")
        with self.sessions.begin() as session:
            user = users.by_email(session, address)
            if user is None:
                if password_hash is None:
                    raise InvalidRequest("A new account needs a password.", code="weak_password")
                if users.create(session, uuid4(), _valid(email), password_hash=password_hash, role=ADMIN) is None:
                    raise Conflict("The account has been made by somebody else at this moment; try again.")
                return Promotion.CREATED
            before, user.role = user.role, ADMIN
            if password_hash is not None:
                user.password_hash = password_hash
                user.token_version += 1
        return Promotion.NONE if before == ADMIN else Promotion.PROMOTED

    def page(self, *, limit: int, beginning: str, cursor: str | None) -> tuple[Sequence[User], str | None]:
        """Accounts whose address begins like this, newest first, and the cursor of the next page (None on the last)."""
        before = None if cursor is None else read_cursor(cursor)
        with self.sessions.begin() as session:
            found = users.page(session, limit=limit + 1, beginning=beginning.lower(), before=before)
        page = found[:limit]
        return page, make_cursor(page[-1].created_at, page[-1].id) if len(found) > limit else None

    def change(self, user_id: UUID, changes: Mapping[str, Any], *, by: User) -> User:
        """Another role, other limits, enabled or disabled: holds from the next request on.

        Raises `Conflict` for administrators who would shut themselves out.
        """
        if user_id == by.id and (changes.get("is_active") is False or changes.get("role", ADMIN) != ADMIN):
            raise Conflict("You cannot disable yourself, or take your own role away.", code="own_account")
        with self.sessions.begin() as session:
            # Two who take each other's role away wait for each other here, and one of them finds that he has lost it.
            if user_id != by.id and by.id not in users.hold_administrators(session):
                raise Forbidden("Only an administrator may do this.")
            user = users.change(session, user_id, changes) if changes else users.by_id(session, user_id)
        if user is None:
            raise NotFound("There is no such account.", code="user_not_found")
        log.info("account_changed", user_id=str(user_id), by=str(by.id), changed=sorted(changes))
        return user


def hashed(password: str) -> str:
    """Raises `InvalidRequest` for a password that nobody should have."""
    if not is_text(password):
        raise InvalidRequest("The password has characters that are none.", code="weak_password")
    if len(password) < MIN_PASSWORD:
        raise InvalidRequest(f"The password is too short (min {MIN_PASSWORD} characters).", code="weak_password")
    if len(password.encode()) > MAX_PASSWORD_BYTES:
        raise InvalidRequest(f"The password is too long (max {MAX_PASSWORD_BYTES} bytes).", code="weak_password")
    return hash_password(password)


def _valid(email: str) -> str:
    """The address in the form that accounts are kept in. Raises `InvalidRequest` for what is none."""
    too_long = InvalidRequest(f"The e-mail address is too long (max {MAX_EMAIL} characters).")
    if len(email) > 4 * MAX_EMAIL:  # not even looked at
        raise too_long
    try:
        address = validate_email(email.strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError as error:
        raise InvalidRequest(f"This is no e-mail address: {error}") from error
    if len(address) > MAX_EMAIL:
        raise too_long
    return address


def as_registered(email: str) -> str:
    """The address in the form that registration keeps it in."""
    try:
        return _valid(email)
    except InvalidRequest:
        return email.strip().lower()
