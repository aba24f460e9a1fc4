"""What one account, or one address, may have in a minute, at a time and in a month."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from math import ceil

from sqlalchemy.orm import Session

from app.core.config import DAY, Settings
from app.core.errors import TooManyRequests
from app.db import usage
from app.db.models import Upload, User
from app.services.counting import LIMITED, Counts
from app.services.limiter import WINDOW, Limiter, Taken

KILO = 1000  # of pixels: pictures smaller than a megapixel count as what they are
IMPROVEMENTS = 100  # pictures of one account in a day
SOON = 5  # seconds until a task may have ended

# What each is called in a sentence.
UNITS = {
    "requests": "requests that change something",
    "reads": "requests that read",
    "megapixels": "megapixels",
    "logins": "logins and registrations from one address",
    "improvements": "pictures to learn from",
}


@dataclass(frozen=True)
class AccountLimits:
    """What one account may have; 0: any number."""

    requests_per_minute: int
    reads_per_minute: int
    megapixels_per_minute: int
    active_tasks: int
    images_per_month: int


@dataclass(frozen=True)
class Standing:
    """Where a caller stands with one limit, whether or not there was room. `reset`: seconds until there is more."""

    name: str
    limit: int
    left: int
    reset: int
    refusal: TooManyRequests | None


def limits_of(user: User, settings: Settings) -> AccountLimits:
    """The account's own limits, and the settings' where it has none."""

    def chosen(own: int | None, default: int) -> int:
        return default if own is None else own

    return AccountLimits(
        requests_per_minute=chosen(user.requests_per_minute, settings.rate_limit_requests_per_minute),
        reads_per_minute=chosen(user.reads_per_minute, settings.rate_limit_reads_per_minute),
        megapixels_per_minute=chosen(user.megapixels_per_minute, settings.rate_limit_megapixels_per_minute),
        active_tasks=chosen(user.active_tasks, settings.quota_active_tasks),
        images_per_month=chosen(user.images_per_month, settings.quota_images_per_month),
    )


def subscriber(address: str) -> str:
    """Whom an address stands for: with IPv6, everybody has 2 to the power of 64 of them."""
    try:
        parsed = ip_address(address)
    except ValueError:  # a Unix socket has a path, or nothing
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"


UNKNOWN_PIXELS = 1_000_000  # that an image counts as whose size is not known yet


@dataclass(frozen=True)
class Limits:
    """The use case with its parts. What a limit of 0 allows is not counted."""

    settings: Settings
    limiter: Limiter
    counts: Counts

    def of(self, user: User) -> AccountLimits:
        return limits_of(user, self.settings)

    def request(self, user: User, *, reads: bool) -> Standing | None:
        """Count a request of an account. None: it has no limit."""
        allowed = self.of(user)
        name, limit = ("reads", allowed.reads_per_minute) if reads else ("requests", allowed.requests_per_minute)
        return self._take(name, str(user.id), limit)

    def stranger(self, address: str) -> Standing | None:
        """Count an attempt to become somebody."""
        return self._take("logins", subscriber(address), self.settings.rate_limit_logins_per_minute)

    def pixels(self, user: User, pixels: int) -> TooManyRequests | None:
        """Count what an account puts in the queue (0: not known yet). What it is to be told if that is too much."""
        limit = self.of(user).megapixels_per_minute
        standing = self._take("megapixels", str(user.id), limit, ceil((pixels or UNKNOWN_PIXELS) / KILO))
        return None if standing is None else standing.refusal

    def improvement(self, user: User) -> None:
        """Count a picture that an account leaves for the operator. Raises `TooManyRequests`."""
        standing = self._take("improvements", str(user.id), IMPROVEMENTS, seconds=DAY)
        if standing is not None and standing.refusal is not None:
            raise standing.refusal

    def of_pixels(self, user: User) -> Standing | None:
        """Where an account stands with its megapixels of a minute; looking costs nothing. None: it has no limit."""
        return self._take("megapixels", str(user.id), self.of(user).megapixels_per_minute, cost=0)

    def left(self, user: User) -> dict[str, int]:
        """What is left of each limit of a minute that the account has."""
        allowed = self.of(user)
        limits = {
            "requests": allowed.requests_per_minute,
            "reads": allowed.reads_per_minute,
            "megapixels": allowed.megapixels_per_minute,
        }
        looks = {name: self._take(name, str(user.id), limit, cost=0) for name, limit in limits.items()}
        return {name: look.left for name, look in looks.items() if look is not None}

    def admit_task(self, session: Session, user: User) -> None:
        """Let one more task of the account come in. What may be is exact until the commit; raises `TooManyRequests`."""
        allowed = self.of(user)
        if allowed.active_tasks:
            usage.hold_account(session, user.id)
            if usage.active(session, user.id) >= allowed.active_tasks:
                raise self._refused(
                    "active_tasks",
                    f"This account has {allowed.active_tasks} tasks that are not over, which is all it may have at a"
                    " time. Please try again when one has ended.",
                    code="too_many_active_tasks",
                    retry_after=SOON,
                )

    def admit_image(self, session: Session, user: User) -> None:
        """Refuse an image that the month has no room for, before it is stored. `count_images` has the last word."""
        allowed = self.of(user).images_per_month
        if allowed and usage.images_this_month(session, user.id) >= allowed:
            raise self._month_is_full(session, allowed)

    def count_images(self, session: Session, user: User, uploads: Sequence[Upload]) -> None:
        """Count images of the month, in the transaction that takes them in. Raises `TooManyRequests`."""
        allowed = self.of(user).images_per_month
        megapixels = sum(upload.pixels for upload in uploads) / 1e6
        if not usage.add_images(session, user.id, len(uploads), megapixels, limit=allowed):
            raise self._month_is_full(session, allowed)

    def _take(self, name: str, who: str, limit: int, cost: int = 1, *, seconds: int = WINDOW) -> Standing | None:
        if not limit:
            return None
        unit = KILO if name == "megapixels" else 1
        taken = self.limiter.take(f"{name}:{who}", limit * unit, cost, seconds=seconds)
        refusal = None if taken.allowed else self._refusal(name, limit, seconds, taken)
        return Standing(name, limit, taken.left // unit, taken.wait, refusal)

    def _refusal(self, name: str, limit: int, seconds: int, taken: Taken) -> TooManyRequests:
        span = "a day" if seconds == DAY else f"{seconds} seconds"
        sentence = f"The limit of {limit} {UNITS[name]} in {span} is reached."
        again = f"Please try again in {taken.wait} s."
        return self._refused(name, f"{sentence} {again}", retry_after=taken.wait, limit=limit)

    def _month_is_full(self, session: Session, allowed: int) -> TooManyRequests:
        return self._refused(
            "images",
            f"This account has had the {allowed} images that it may have in a month.",
            code="quota_exceeded",
            retry_after=min(DAY, ceil(usage.seconds_left(session))),
        )

    def _refused(
        self, name: str, message: str, *, retry_after: int, limit: int | None = None, code: str | None = None
    ) -> TooManyRequests:
        self.counts.add(LIMITED, limit=name)
        return TooManyRequests(message, code=code, retry_after=retry_after, limit=limit)
