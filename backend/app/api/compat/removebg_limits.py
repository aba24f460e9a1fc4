"""`X-RateLimit-*` as remove.bg told them: how many megapixels may come in a minute, and when there are all of them."""

import time

from fastapi import Request

from app.api.deps import Services
from app.core.errors import TooManyRequests
from app.db.models import User
from app.services.limits import Standing

LIMIT, REMAINING, RESET = "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"
HEADERS = (LIMIT, REMAINING, RESET)


def rate_headers(request: Request, services: Services, user: User) -> dict[str, str]:
    """How the account stands with its megapixels; with its requests, where any number of pixels may come. Blocks."""
    standing: Standing | None = services.limits.of_pixels(user) or getattr(request.state, "rate_limit", None)
    return {} if standing is None else _told(standing.limit, standing.left, standing.reset)


def reached(error: TooManyRequests) -> dict[str, str]:
    """What goes with the refusal of one who has had it all."""
    told = {} if error.limit is None else _told(error.limit, 0, error.retry_after)
    return {"Retry-After": str(error.retry_after), **told}


def _told(limit: int, left: int, seconds: int) -> dict[str, str]:
    """`seconds`: until there is more. Theirs was a time, in Unix seconds."""
    return {LIMIT: str(limit), REMAINING: str(left), RESET: str(int(time.time()) + seconds)}
