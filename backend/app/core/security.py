"""Passwords and tokens: the one room that knows argon2 and JWT."""

import base64
import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import jwt
from passlib.context import CryptContext

from app.core.errors import NotAuthenticated

ALGORITHM = "HS256"
ISSUER = AUDIENCE = "quickbg"
LEEWAY = 30  # seconds of clock difference between machines that are forgiven
MAX_PASSWORD_BYTES = 1024
MAX_TOKEN = 4096  # characters

# OWASP's parameters for argon2id: 19 MiB, two passes, one lane.
_passwords = CryptContext(
    schemes=["argon2"], argon2__type="ID", argon2__memory_cost=19_456, argon2__time_cost=2, argon2__parallelism=1
)


class Kind(StrEnum):
    """What a token is for: its claim `typ`."""

    ACCESS = "access"
    REFRESH = "refresh"


@dataclass(frozen=True)
class TokenClaims:
    """What a token that holds says."""

    user_id: UUID
    token_version: int
    token_id: UUID
    login_id: UUID | None  # none: the shell made it


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


def prepare_dummy() -> None:
    """Make the dummy's hash now, so that the first unknown address takes no longer than the next."""
    _passwords.dummy_verify()


def create_access_token(
    user_id: UUID, *, secret: str, ttl_seconds: float, token_version: int = 0, login_id: UUID | None = None
) -> str:
    """A signed access token (JWT, HS256) for the account, good for `ttl_seconds`."""
    expires_at = datetime.now(UTC) + timedelta(seconds=ttl_seconds)
    return _sign(Kind.ACCESS, TokenClaims(user_id, token_version, uuid4(), login_id), expires_at, secret)


def create_refresh_token(claims: TokenClaims, *, secret: str, expires_at: datetime) -> str:
    """A signed refresh token with these claims: its id is what its login knows it by."""
    return _sign(Kind.REFRESH, claims, expires_at, secret)


def read_token(token: str, kind: Kind, *, secrets: Sequence[str]) -> TokenClaims:
    """What the token says, once its signature, by one of these secrets, and every claim hold.

    Raises `NotAuthenticated`, always with the same words: only one of ours says that it has expired.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            _secret_for(token, secrets),
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            leeway=LEEWAY,
            options={"require": ["exp", "iat", "sub", "aud", "iss", "jti"], "enforce_minimum_key_length": True},
        )
        if claims.get("typ") != kind:
            raise ValueError("a token for something else")
        login_id = None if claims.get("sid") is None else UUID(claims["sid"])
        return TokenClaims(UUID(claims["sub"]), int(claims["ver"]), UUID(claims["jti"]), login_id)
    except jwt.ExpiredSignatureError as error:
        raise NotAuthenticated(f"The {kind} token has expired.", code="token_expired") from error
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise NotAuthenticated(f"The {kind} token is not valid.") from error


def _sign(kind: Kind, claims: TokenClaims, expires_at: datetime, secret: str) -> str:
    says: dict[str, Any] = {
        "sub": str(claims.user_id),
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": datetime.now(UTC),
        "exp": expires_at,
        "jti": str(claims.token_id),
        "typ": kind,
        "ver": claims.token_version,
    }
    if claims.login_id is not None:
        says["sid"] = str(claims.login_id)
    return jwt.encode(says, secret, algorithm=ALGORITHM, headers={"kid": key_id(secret)})


def key_id(secret: str) -> str:
    """The name of a secret in the header of what it has signed."""
    return hashlib.sha256(secret.encode()).hexdigest()[:8]


def _secret_for(token: str, secrets: Sequence[str]) -> str:
    """The secret that the token says it is signed with. `ValueError` if it is not written as ours are.

    There is one way to write each token, and one header for each secret: no algorithm, extension or key of a
    stranger's choice comes any further.
    """
    if len(token) > MAX_TOKEN:
        raise ValueError("a token longer than any of ours")
    for part in token.split("."):
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        if base64.urlsafe_b64encode(raw).decode().rstrip("=") != part:
            raise ValueError("not the one way to write it")
    header = jwt.get_unverified_header(token)
    for secret in secrets:
        if header == {"alg": ALGORITHM, "typ": "JWT", "kid": key_id(secret)}:
            return secret
    raise ValueError("signed with no secret of ours")
