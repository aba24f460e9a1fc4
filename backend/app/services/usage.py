"""What an account has had, and what it may still have."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.db import usage
from app.db.base import Sessions
from app.db.models import User
from app.db.usage import Month
from app.services.limits import AccountLimits, Limits

MONTHS = 12


@dataclass(frozen=True)
class Used:
    """`left`: what is left of each limit that the account has, by the names of `AccountLimits`."""

    months: Sequence[Month]  # the present one first
    active_tasks: int
    limits: AccountLimits
    left: dict[str, int]


@dataclass(frozen=True)
class Usages:
    """The use case with the parts that it works on."""

    sessions: Sessions
    limits: Limits

    def look(self, user: User) -> Used:
        """How the account stands at this moment. Looking costs nothing."""
        with self.sessions.begin() as session:
            months = usage.last_months(session, user.id, MONTHS)
            active = usage.active(session, user.id)
        limits = self.limits.of(user)
        left = {f"{name}_per_minute": number for name, number in self.limits.left(user).items()}
        if limits.active_tasks:
            left["active_tasks"] = max(0, limits.active_tasks - active)
        if limits.images_per_month:
            left["images_per_month"] = max(0, limits.images_per_month - months[0].images)
        return Used(months, active, limits, left)
