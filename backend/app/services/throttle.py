"""How often a password may be tried: by the account that it is for, whether there is one or not, from one address and
from all of them, and by the address that it comes from.

Kept in the database, so that nothing that Redis forgets opens the door. Further tries wait, each twice as long as the
one before, and a right password ends it. Wrong ones from one address keep the owner, at another, from nothing; who
tries from many makes him wait, too.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from app.core.errors import TooManyRequests
from app.core.logging import get_logger
from app.db import login_failures
from app.db.base import Sessions
from app.db.login_failures import Rule
from app.services.limits import subscriber

BY_BOTH = Rule(free=5)  # one account from one address
BY_ACCOUNT = Rule(free=20)
BY_ADDRESS = Rule(free=50)
KEPT = 3600.0  # seconds; longer than any rule looks back

log = get_logger(__name__)


@dataclass(frozen=True)
class Throttle:
    """The use case with the part that it works on."""

    sessions: Sessions

    @contextmanager
    def trying(self, email: str, address: str | None = None) -> Iterator[None]:
        """Around the look at one password, which raises when it is wrong. `address`: where it comes from, if known.

        Raises `TooManyRequests`, before the look, when there have been too many tries.
        """
        account = f"account:{hashlib.sha256(email.encode(errors='surrogatepass')).hexdigest()}"
        source = "" if address is None else subscriber(address)
        both = f"both:{account}:{source}"
        rules = {both: BY_BOTH, account: BY_ACCOUNT, f"address:{source}": BY_ADDRESS}
        if address is None:
            del rules[f"address:{source}"]
        self._count(rules)
        yield
        with self.sessions.begin() as session:
            login_failures.forget(session, both)
            login_failures.forget(session, account)
            if address is not None:
                login_failures.take_back(session, f"address:{source}")

    def _count(self, rules: Mapping[str, Rule]) -> None:
        with self.sessions.begin() as session:
            # Always in this order, so that no two wait for each other; a refusal takes all of it back.
            for subject, rule in rules.items():
                wait = login_failures.count(session, subject, rule)
                if wait is not None:
                    log.warning("login_throttled", by=subject.partition(":")[0])
                    raise TooManyRequests(
                        "There have been too many wrong passwords. Please try again later.",
                        code="too_many_attempts",
                        retry_after=max(1, ceil(wait)),
                    )
