"""How often a password may be tried: by the account that it is for, whether there is one or not, and by the address
that it comes from.

Kept in the database, so that nothing that Redis forgets opens the door. Nobody is locked out for good: further tries
wait, each twice as long as the one before, and a right password ends it.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from app.core.errors import TooManyRequests
from app.core.logging import get_logger
from app.db import login_failures
from app.db.base import Sessions
from app.db.login_failures import Rule
from app.services.limits import subscriber

BY_ACCOUNT = Rule(free=5)
BY_ADDRESS = Rule(free=50)
KEPT = 3600.0  # seconds; longer than any rule looks back

log = get_logger(__name__)


@dataclass(frozen=True)
class Throttle:
    """The use case with the part that it works on."""

    sessions: Sessions

    @contextmanager
    def trying(self, email: str, address: str | None) -> Iterator[None]:
        """Around the look at one password, which raises when it is wrong. `address`: where it comes from, if known.

        Raises `TooManyRequests`, before the look, when there have been too many tries.
        """
        account = f"account:{hashlib.sha256(email.encode(errors='surrogatepass')).hexdigest()}"
        source = None if address is None else f"address:{subscriber(address)}"
        self._count(account, source)
        yield
        with self.sessions.begin() as session:
            login_failures.forget(session, account)
            if source is not None:
                login_failures.take_back(session, source)

    def _count(self, account: str, source: str | None) -> None:
        subjects = [(account, BY_ACCOUNT)] if source is None else [(account, BY_ACCOUNT), (source, BY_ADDRESS)]
        with self.sessions.begin() as session:
            # Always in this order, so that no two wait for each other; a refusal takes both back.
            for subject, rule in subjects:
                wait = login_failures.count(session, subject, rule)
                if wait is not None:
                    log.warning("login_throttled", by=subject.partition(":")[0])
                    raise TooManyRequests(
                        "There have been too many wrong passwords. Please try again later.",
                        code="too_many_attempts",
                        retry_after=max(1, ceil(wait)),
                    )
