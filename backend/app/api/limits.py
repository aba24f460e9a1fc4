"""Limits on the wire: who is counted, and the fields that tell every caller how much is left.

The fields are those of draft-ietf-httpapi-ratelimit-headers (structured fields, RFC 9651).
"""

from typing import Any

from fastapi import Request

from app.db.models import User
from app.services.limiter import WINDOW
from app.services.limits import Limits, Standing

READS = frozenset({"GET", "HEAD"})
MAKING = frozenset({"/api/remove"})  # a task, by GET too, as rembg has it


def count_request(request: Request, user: User, limits: Limits) -> None:
    """Count a request of a known caller. Blocks; raises `TooManyRequests`."""
    reads = request.method in READS and request.url.path not in MAKING
    _note(request, limits.request(user, reads=reads))


def stranger(request: Request) -> None:
    """As a dependency of a route: count who asks for it by his address."""
    limits: Limits = request.app.state.services.limits
    _note(request, limits.stranger(request.client.host if request.client else ""))


def fields(request_state: dict[str, Any]) -> dict[str, str]:
    """The fields of an answer to the request with this state."""
    standing: Standing | None = request_state.get("rate_limit")
    if standing is None:
        return {}
    return {
        "RateLimit-Policy": f'"{standing.name}";q={standing.limit};w={WINDOW}',
        "RateLimit": f'"{standing.name}";r={standing.left};t={standing.reset}',
    }


def _note(request: Request, standing: Standing | None) -> None:
    request.state.rate_limit = standing
    if standing is not None and standing.refusal is not None:
        raise standing.refusal
