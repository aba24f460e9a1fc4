"""API keys: what programs authenticate with."""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from app.core.api_keys import Key, make_key, parse_key
from app.core.errors import Conflict, Forbidden, InvalidRequest, NotAuthenticated, NotFound
from app.core.logging import get_logger
from app.db import api_keys
from app.db.base import Sessions
from app.db.models import ApiKey, User
from app.services.identity import Principal, Scope, scopes_of

MAX_KEYS = 50
MAX_LISTED = 100  # with those that have come to their end
LONGEST = timedelta(days=3650)
TOUCH_EVERY = 60.0  # seconds

log = get_logger(__name__)


@dataclass(frozen=True)
class ApiKeys:
    """The use cases with the part that they work on."""

    sessions: Sessions

    def make(
        self, user: User, *, name: str, scopes: Iterable[Scope], expires: datetime | timedelta | None
    ) -> tuple[ApiKey, Key]:
        """A new key, and its text, which is stored nowhere. `expires`: at a time, after a while, or not at all."""
        wanted = frozenset(scopes)
        if denied := wanted - scopes_of(user):
            raise Forbidden(f"Only an administrator can give a key this scope: {', '.join(sorted(denied))}.")
        _check(expires)
        with self.sessions.begin() as session:
            if api_keys.count_live(session, user.id) >= MAX_KEYS:
                message = f"This account has {MAX_KEYS} API keys, which is all it may have; revoke one."
                raise Conflict(message, code="too_many_keys")
            made = None
            while made is None:
                key = make_key()
                made = api_keys.add(
                    session,
                    uuid4(),
                    user.id,
                    prefix=key.prefix,
                    digest=key.digest,
                    name=name,
                    scopes=sorted(wanted),
                    expires=expires,
                )
        log.info("api_key_made", key_id=str(made.id), user_id=str(user.id), scopes=sorted(wanted))
        return made, key

    def owned(self, user: User) -> Sequence[ApiKey]:
        """The account's keys that have not been revoked: the live ones first, then the newest."""
        with self.sessions.begin() as session:
            return api_keys.listed(session, user.id, limit=MAX_LISTED)

    def revoke(self, user: User, key_id: UUID) -> None:
        """End a key of the account's own: the next request with it is refused."""
        with self.sessions.begin() as session:
            if not api_keys.revoke(session, key_id, user.id):
                raise NotFound("There is no such API key.", code="key_not_found")
        log.info("api_key_revoked", key_id=str(key_id), user_id=str(user.id))

    def authenticate(self, text: str) -> Principal:
        """Whom a key speaks for, as long as it and its account hold."""
        wrong = NotAuthenticated("The API key is not valid.")
        key = parse_key(text)
        if key is None:
            raise wrong
        with self.sessions.begin() as session:
            found = api_keys.find(session, key.prefix, touch_every=TOUCH_EVERY)
            if found is None or not hmac.compare_digest(found.key.secret_hash, key.digest) or not found.user.is_active:
                raise wrong
            if found.is_stale:
                api_keys.touch(session, found)
        return Principal(found.user, scopes_of(found.user) & frozenset(found.key.scopes), key_id=found.key.id)


def _check(expires: datetime | timedelta | None) -> None:
    ahead = expires - datetime.now(UTC) if isinstance(expires, datetime) else expires
    if ahead is not None and not timedelta() < ahead <= LONGEST:
        raise InvalidRequest(f"A key has to end in the future, within {LONGEST.days} days.", code="invalid_expiry")
