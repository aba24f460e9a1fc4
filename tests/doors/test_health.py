"""The health matrix in every state that its parts can be in, and how long it takes to say so."""

import time
from collections.abc import Iterator
from itertools import product
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.db import heartbeats
from app.db.base import Sessions
from app.main import create_app
from app.storage.s3 import S3Store
from tests.conftest import make_settings
from tests.embedded_services import wait_for
from tests.faults.proxy import Proxies, Toxic
from tests.faults.stack import SERVICES

CHECKS = {"postgres": "database", "valkey": "redis", "s3": "s3", "workers": "workers"}
STATES = [
    frozenset(part for part, down in zip(CHECKS, state, strict=True) if down) for state in product((0, 1), repeat=4)
]
SECONDS = 2.0  # 1.5 on a machine that does nothing else
AWAY = {"refused": Toxic(refuse=True), "silent": Toxic(black_hole=True)}


@pytest.fixture(scope="module")
def proxies(environment: dict[str, str]) -> Iterator[Proxies]:
    with Proxies({name: urlsplit(environment[variable]).port or 0 for name, variable in SERVICES.items()}) as proxies:
        yield proxies


@pytest.fixture(scope="module")
def app(environment: dict[str, str], engine: Engine, s3_store: S3Store, proxies: Proxies) -> Iterator[TestClient]:
    """An API that reaches everything by way of the proxies."""
    through = dict(environment)
    for name, variable in SERVICES.items():
        port = urlsplit(environment[variable]).port
        through[variable] = environment[variable].replace(f":{port}", f":{proxies.ports[name]}")
    with TestClient(create_app(make_settings(through))) as client:
        yield client


def status(down: frozenset[str]) -> tuple[str, int]:
    """The table of the description: the first line that fits."""
    if "postgres" in down:
        return "unhealthy", 503
    if "s3" in down:
        return "unhealthy", 503
    if "valkey" in down:
        return "degraded", 200
    if "workers" in down:
        return "degraded", 200
    return "healthy", 200


# In silence every one of them takes its time; whether there are workers makes no difference to that.
@pytest.mark.parametrize(
    ("how", "down"),
    [("refused", down) for down in STATES] + [("silent", down) for down in STATES if down and "workers" not in down],
    ids=lambda value: value if isinstance(value, str) else "+".join(sorted(value)) or "nothing",
)
def test_every_state(
    app: TestClient,
    sessions: Sessions,
    proxies: Proxies,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    down: frozenset[str],
) -> None:
    monkeypatch.setattr("app.services.health.FRESH", 0.0)
    with sessions.begin() as session:
        heartbeats.beat(session, "host:1", "worker")
        heartbeats.beat(session, "host:2", "sweeper")
    wait_for(lambda: app.get("/health").json()["status"] == "healthy", "all is well to begin with")
    if "workers" in down:
        with sessions.begin() as session:
            heartbeats.remove(session, "host:1")
    try:
        for name in down & set(SERVICES):
            proxies.set(name, AWAY[how])
        begun = time.monotonic()
        answer = app.get("/health")
        seconds = time.monotonic() - begun
    finally:
        proxies.heal()
    body = answer.json()
    assert (body["status"], answer.status_code) == status(down)
    assert body["checks"]["api"] == "ok"
    for part, check in CHECKS.items():
        if part in down and not (part == "workers" and "postgres" in down):
            assert body["checks"][check] in (
                {"error"} if how == "refused" or part == "workers" else {"error", "timeout"}
            )
        else:
            assert body["checks"][check] == ("skipped" if part == "workers" and "postgres" in down else "ok")
    assert body["checks"]["sweeper"] == ("skipped" if "postgres" in down else "ok")
    assert set(body) == {"status", "service", "version", "checks", "details"}
    assert seconds < SECONDS
