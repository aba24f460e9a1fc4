"""Accounts: register, log in, and tell who a token belongs to."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import uuid4

from email_validator import EmailNotValidError, validate_email

from app.core.config import Settings
from app.core.errors import Conflict, Forbidden, InvalidRequest, NotAuthenticated
from app.core.security import (
    MAX_PASSWORD_BYTES,
    create_access_token,
    hash_password,
    read_access_token,
    verify_password,
)
from app.db import users
from app.db.base import Sessions
from app.db.models import User

MIN_PASSWORD = 8
MAX_EMAIL = 254
ADMIN = "admin"


class Promotion(StrEnum):
    CREATED = "created"
    PROMOTED = "promoted"
    NONE = "none"  # it was an administrator before


@dataclass(frozen=True)
class Accounts:
    """The use case with the parts that it works on."""

    settings: Settings
    sessions: Sessions

    def register(self, email: str, password: str) -> User:
        if not self.settings.registration_enabled:
            raise Forbidden("Registration is switched off on this server.", code="registration_disabled")
        hashed = _hashed(password)
        with self.sessions.begin() as session:
            user = users.create(session, uuid4(), email.lower(), password_hash=hashed)
        if user is None:
            raise Conflict("There is an account with this address already.", code="email_taken")
        return user

    def exists(self, email: str) -> bool:
        with self.sessions.begin() as session:
            return users.by_email(session, _as_registered(email)) is not None

    def make_admin(self, email: str, password: str | None) -> Promotion:
        """Make an administrator, or make one of an existing account, whose password is changed if one is given.

        A new password ends every login there is. Raises `InvalidRequest` for an address or a password that
        registration would refuse, too, and for a new account without a password.
        """
        hashed = None if password is None else _hashed(password)
        address = _as_registered(email)
        with self.sessions.begin() as session:
            user = users.by_email(session, address)
            if user is None:
                if hashed is None:
                    raise InvalidRequest("A new account needs a password.", code="weak_password")
                if users.create(session, uuid4(), _valid(email), password_hash=hashed, role=ADMIN) is None:
                    raise Conflict("The account has been made by somebody else at this moment; try again.")
                return Promotion.CREATED
            before, user.role = user.role, ADMIN
            if hashed is not None:
                user.password_hash = hashed
                user.token_version += 1
        return Promotion.NONE if before == ADMIN else Promotion.PROMOTED

    def log_in(self, email: str, password: str) -> str:
        """An access token. Unknown address, wrong password and disabled account look the same, also in time."""
        wrong = NotAuthenticated("The e-mail address or the password is wrong.", code="wrong_credentials")
        if not (_is_text(email) and _is_text(password)):
            raise wrong
        with self.sessions.begin() as session:
            user = users.by_email(session, _as_registered(email))
        fits, fresh = verify_password(password, user.password_hash if user else None)
        if user is None or not fits or not user.is_active:
            raise wrong
        if fresh:
            with self.sessions.begin() as session:
                users.set_password_hash(session, user.id, fresh)
        return create_access_token(
            user.id,
            secret=self.settings.secret_key.get_secret_value(),
            ttl_seconds=self.settings.access_token_ttl_seconds,
            token_version=user.token_version,
        )

    def authenticate(self, token: str) -> User:
        """The account that a token speaks for, as long as both hold."""
        claims = read_access_token(token, secret=self.settings.secret_key.get_secret_value())
        with self.sessions.begin() as session:
            user = users.by_id(session, claims.user_id)
        if user is None or not user.is_active or user.token_version != claims.token_version:
            raise NotAuthenticated("The access token is not valid.")
        return user


def _is_text(value: str) -> bool:
    """Whether it can be stored and hashed: no NUL, and no lone half of a surrogate pair, as JSON may hold."""
    return "\x00" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def _hashed(password: str) -> str:
    """Raises `InvalidRequest` for a password that nobody should have."""
    if not _is_text(password):
        raise InvalidRequest("The password has characters that are none.", code="weak_password")
    if len(password) < MIN_PASSWORD:
        raise InvalidRequest(f"The password is too short (min {MIN_PASSWORD} characters).", code="weak_password")
    if len(password.encode()) > MAX_PASSWORD_BYTES:
        raise InvalidRequest(f"The password is too long (max {MAX_PASSWORD_BYTES} bytes).", code="weak_password")
    return hash_password(password)


def _valid(email: str) -> str:
    """The address in the form that accounts are kept in. Raises `InvalidRequest` for what is none."""
    try:
        address = validate_email(email.strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError as error:
        raise InvalidRequest(f"This is no e-mail address: {error}") from error
    if len(address) > MAX_EMAIL:
        raise InvalidRequest(f"The e-mail address is too long (max {MAX_EMAIL} characters).")
    return address


def _as_registered(email: str) -> str:
    """The address in the form that registration keeps it in."""
    try:
        return _valid(email)
    except InvalidRequest:
        return email.strip().lower()
