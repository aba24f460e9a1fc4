"""Accounts: register, log in, and tell who a token belongs to."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Accounts:
    """The use case with the parts that it works on."""

    settings: Settings
    sessions: Sessions

    def register(self, email: str, password: str) -> User:
        if not self.settings.registration_enabled:
            raise Forbidden("Registration is switched off on this server.", code="registration_disabled")
        if not _is_text(password):
            raise InvalidRequest("The password has characters that are none.", code="weak_password")
        if len(password) < MIN_PASSWORD:
            raise InvalidRequest(f"The password is too short (min {MIN_PASSWORD} characters).", code="weak_password")
        if len(password.encode()) > MAX_PASSWORD_BYTES:
            raise InvalidRequest(f"The password is too long (max {MAX_PASSWORD_BYTES} bytes).", code="weak_password")
        hashed = hash_password(password)
        with self.sessions.begin() as session:
            user = users.create(session, uuid4(), email.lower(), password_hash=hashed)
        if user is None:
            raise Conflict("There is an account with this address already.", code="email_taken")
        return user

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


def _as_registered(email: str) -> str:
    """The address in the form that registration keeps it in."""
    try:
        return validate_email(email.strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return email.strip().lower()
