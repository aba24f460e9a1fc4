"""Passwords and tokens: the one room that knows argon2 and JWT."""

import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
from passlib.context import CryptContext

from app.core.errors import NotAuthenticated

ALGORITHM = "HS256"
ISSUER = AUDIENCE = "quickbg"
LEEWAY = 30  # seconds of clock difference between machines that are forgiven
MAX_PASSWORD_BYTES = 1024

# OWASP's parameters for argon2id: 19 MiB, two passes, one lane.
_passwords = CryptContext(
    schemes=["argon2"], argon2__type="ID", argon2__memory_cost=19_456, argon2__time_cost=2, argon2__parallelism=1
)


@dataclass(frozen=True)
class TokenClaims:
    """What a token that holds says."""

    user_id: UUID
    token_version: int


def _normal_form(password: str) -> str:
    return unicodedata.normalize("NFKC", password)


def hash_password(password: str) -> str:
    """The argon2id hash to store. Slow on purpose (tens of milliseconds): call it from a thread."""
    return str(_passwords.hash(_normal_form(password)))


def verify_password(password: str, stored: str | None) -> tuple[bool, str | None]:
    """Whether the password fits, and a fresh hash to store when the old one has outdated parameters.

    Without a stored hash (no such account, or one that cannot log in) the same work is done against a dummy, so that
    the time tells nothing.
    """
    if stored is None or len(password.encode()) > MAX_PASSWORD_BYTES:
        _passwords.dummy_verify()
        return False, None
    fits, fresh = _passwords.verify_and_update(_normal_form(password), stored)
    return bool(fits), fresh


def create_access_token(user_id: UUID, *, secret: str, ttl_seconds: int, token_version: int = 0) -> str:
    """A signed access token (JWT, HS256) for the account, good for `ttl_seconds`."""
    now = datetime.now(UTC)
    claims = {
        "sub": str(user_id),
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + timedelta(seconds=ttl_seconds),
        "jti": str(uuid4()),
        "typ": "access",
        "ver": token_version,
    }
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def read_access_token(token: str, *, secret: str) -> TokenClaims:
    """What the token says, once its signature and every claim hold; otherwise `NotAuthenticated`."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            leeway=LEEWAY,
            options={"require": ["exp", "iat", "sub", "aud", "iss", "jti"], "enforce_minimum_key_length": True},
        )
        if claims.get("typ") != "access":
            raise NotAuthenticated("The access token is not valid.")
        return TokenClaims(UUID(claims["sub"]), int(claims.get("ver", 0)))
    except jwt.ExpiredSignatureError as error:
        raise NotAuthenticated("The access token has expired.", code="token_expired") from error
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise NotAuthenticated("The access token is not valid.") from error
