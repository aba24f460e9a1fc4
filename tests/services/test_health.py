"""The matrix: what each part's answer makes of the whole."""

from collections.abc import Callable

import pytest

from app.core.errors import StorageUnavailable
from app.db.base import Sessions
from app.db.migrations import Schema
from app.services.health import Health, Matrix
from tests.factories import TIMING


def fine() -> None:
    """It answers."""


def matrix(
    sessions: Sessions, *, store: Callable[[], object] = fine, broker: Callable[[], object] | None = None
) -> Matrix:
    health = Health(sessions, TIMING, fine, store, Schema.of_this_code(), broker)
    try:
        return health.matrix()
    finally:
        health.close()


def test_a_broker_that_is_the_redis_has_no_line_of_its_own(sessions: Sessions) -> None:
    assert "broker" not in matrix(sessions).checks


def test_a_broker_of_its_own_is_asked(sessions: Sessions) -> None:
    found = matrix(sessions, broker=fine)
    assert found.checks["broker"] == "ok"
    assert found.details["broker"]["latency_ms"] >= 0


def test_a_broker_that_is_away_degrades_only(sessions: Sessions) -> None:
    def away() -> None:
        raise ConnectionRefusedError

    found = matrix(sessions, broker=away)
    assert (found.checks["broker"], found.status) == ("error", "degraded")


@pytest.mark.parametrize("reason", ["clock_skew", None])
def test_the_store_says_why(sessions: Sessions, reason: str | None) -> None:
    def skewed() -> None:
        raise StorageUnavailable("The object store refused the request.", reason=reason)

    found = matrix(sessions, store=skewed)
    assert (found.checks["s3"], found.status) == ("error", "unhealthy")
    assert found.details.get("s3") == ({"reason": reason} if reason else None)
