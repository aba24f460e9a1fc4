"""Logins: a password for tokens, tokens for fresh ones, and the end of them."""

from dataclasses import dataclass
from functools import cached_property
from uuid import UUID, uuid4

from app.core.config import Settings
from app.core.errors import Conflict, Forbidden, NotAuthenticated
from app.core.logging import get_logger
from app.core.security import (
    Kind,
    TokenClaims,
    create_access_token,
    create_refresh_token,
    prepare_dummy,
    read_token,
    verify_password,
)
from app.core.validation import is_text
from app.db import logins, users
from app.db.base import Sessions
from app.db.models import User
from app.services.accounts import as_registered, hashed
from app.services.identity import Principal, scopes_of
from app.services.throttle import Throttle

log = get_logger(__name__)


@dataclass(frozen=True)
class Tokens:
    access: str
    refresh: str
    expires_in: int  # seconds, of the access token


@dataclass(frozen=True)
class Logins:
    """The use cases with the parts that they work on."""

    settings: Settings
    sessions: Sessions
    throttle: Throttle

    def __post_init__(self) -> None:
        prepare_dummy()

    def log_in(self, email: str, password: str, address: str | None = None) -> Tokens:
        """Fresh tokens. Unknown address, wrong password and disabled account look the same, also in time.

        Raises `TooManyRequests` after too many wrong passwords, by account or by the `address` that they come from.
        """
        email = as_registered(email)
        with self.throttle.trying(email, address):
            user = self._known(email, password)
            if user is None:
                raise NotAuthenticated("The e-mail address or the password is wrong.", code="wrong_credentials")
        return self._begin(user)

    def refresh(self, token: str) -> Tokens:
        """Fresh tokens for a refresh token, which holds once: one that comes back ends its login."""
        claims = read_token(token, Kind.REFRESH, secrets=self._secrets)
        wrong = NotAuthenticated("The refresh token is not valid.")
        if claims.login_id is None:
            raise wrong
        new = uuid4()
        with self.sessions.begin() as session:
            rotated = logins.rotate(
                session,
                claims.login_id,
                user_id=claims.user_id,
                version=claims.token_version,
                used=claims.token_id,
                new=new,
            )
            if rotated is None and logins.revoke_reused(session, claims.login_id, used=claims.token_id):
                log.warning("refresh_token_reused", login_id=str(claims.login_id), user_id=str(claims.user_id))
        if rotated is None:
            raise wrong
        return self._tokens(rotated, claims.login_id, new)

    def log_out(self, principal: Principal) -> None:
        """End the login of the token: none of its tokens holds from here on."""
        if principal.login_id is None:
            raise Conflict("This token belongs to no login: it holds until it expires.", code="no_login")
        with self.sessions.begin() as session:
            logins.revoke(session, principal.login_id)

    def change_password(self, user: User, current: str, new: str) -> Tokens:
        """Give the account another password. Every token there is ends with it; API keys stay.

        Raises `Forbidden` for a wrong current password. How many there may be is counted apart: strangers who try to
        log in are the very reason to change it.
        """
        with self.throttle.trying(f"change:{user.id}"):
            if self._known(user.email, current) is None:
                raise Forbidden("The current password is wrong.", code="wrong_password")
        password_hash = hashed(new)
        with self.sessions.begin() as session:
            changed = users.change_password(session, user.id, password_hash, version=user.token_version)
        if changed is None:
            raise Conflict("The account has been changed by another request at this moment; log in again.")
        return self._begin(changed)

    def authenticate(self, token: str) -> Principal:
        """Whom an access token speaks for, as long as it, its login and its account hold."""
        claims = read_token(token, Kind.ACCESS, secrets=self._secrets)
        with self.sessions.begin() as session:
            user = logins.account(session, claims.user_id, claims.login_id)
        if user is None or not user.is_active or user.token_version != claims.token_version:
            raise NotAuthenticated("The access token is not valid.")
        return Principal(user, scopes_of(user), login_id=claims.login_id)

    def _known(self, email: str, password: str) -> User | None:
        """The account that the password opens. As much work for one that it does not, or that there is not."""
        with self.sessions.begin() as session:
            user = users.by_email(session, email) if is_text(email) else None
        stored = user.password_hash if user is not None and is_text(password) else None
        fits, fresh = verify_password(password, stored)
        if user is None or stored is None or not fits or not user.is_active:
            return None
        if fresh is not None:
            with self.sessions.begin() as session:
                users.replace_password_hash(session, user.id, stored, fresh)
        return user

    def _begin(self, user: User) -> Tokens:
        login_id, token_id = uuid4(), uuid4()
        with self.sessions.begin() as session:
            ends = logins.begin(session, login_id, user.id, token_id, ttl=self.settings.refresh_token_ttl_seconds)
        return self._tokens(logins.Rotated(user, ends), login_id, token_id)

    def _tokens(self, login: logins.Rotated, login_id: UUID, token_id: UUID) -> Tokens:
        user, ttl = login.user, self.settings.access_token_ttl_seconds
        secret, version = self._secrets[0], user.token_version
        claims = TokenClaims(user.id, version, token_id, login_id)
        return Tokens(
            create_access_token(user.id, secret=secret, ttl_seconds=ttl, token_version=version, login_id=login_id),
            create_refresh_token(claims, secret=secret, expires_at=login.expires_at),
            ttl,
        )

    @cached_property
    def _secrets(self) -> list[str]:
        """The one that signs, then the one of before, if any."""
        ring = (self.settings.secret_key, self.settings.secret_key_previous)
        return [secret.get_secret_value() for secret in ring if secret is not None]
