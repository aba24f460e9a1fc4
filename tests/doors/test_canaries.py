"""Secrets go through the whole service, in good order and through faults, and are then looked for where none may be."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import select

from app.db.base import Base
from app.embedded.ports import choose
from tests.e2e.conftest import Deployment, wait_done
from tests.embedded_services import wait_for
from tests.pictures import encoded

pytestmark = pytest.mark.xdist_group("doors")

API = "/api/v1"
OF_THE_SERVER = ("SECRET_KEY", "AWS_SECRET_ACCESS_KEY")
WITH_PASSWORD = ("DATABASE_URL", "REDIS_URL")


@dataclass
class Hunt:
    """Every secret that there is, and every answer there was."""

    deployment: Deployment
    client: httpx2.Client
    secrets: dict[str, str] = field(default_factory=dict)
    answers: list[tuple[str, str, frozenset[str]]] = field(default_factory=list)  # what was asked, the answer, may hold

    def plant(self, name: str, secret: str = "") -> str:
        """Letters and digits alone: it looks the same in a URL, in JSON and in a log."""
        self.secrets[name] = secret or f"canary{uuid4().hex}"
        return self.secrets[name]

    def ask(self, method: str, path: str, *, told: tuple[str, ...] = (), **sent: Any) -> httpx2.Response:
        """`told`: the secrets that this answer is for."""
        answer = self.client.request(method, path, **sent)
        text = answer.text + json.dumps(dict(answer.headers))
        self.answers.append((f"{method} {path.partition('?')[0]} {answer.status_code}", text, frozenset(told)))
        return answer

    def hits(self, text: str, may: frozenset[str] = frozenset()) -> list[str]:
        return [name for name, secret in self.secrets.items() if secret in text and name not in may]


@pytest.fixture
def hunt(deployment: Deployment) -> Iterator[Hunt]:
    with httpx2.Client(base_url=deployment.url, timeout=30) as client:
        hunt = Hunt(deployment, client)
        for name in OF_THE_SERVER:
            hunt.plant(name, deployment.environment[name])
        for name in WITH_PASSWORD:
            hunt.plant(name, urlsplit(deployment.environment[name]).password or "")
        yield hunt


def test_no_secret_gets_out(hunt: Hunt) -> None:
    deployment = hunt.deployment
    deployment.wait_healthy()
    headers = comes_in(hunt)
    works(hunt, headers)
    with_wrong_secrets(hunt)
    without_the_database(hunt, headers)
    assert hunt.ask("GET", "/metrics").status_code == 200

    logs = [*deployment.settings.log_dir.rglob("*.log*"), *deployment.services.layout.logs.glob("*.log*")]
    assert {"api.log", "worker.log", "sweeper.log", "metrics.log", "postgres.log"} <= {log.name for log in logs}
    said = {log.name: log.read_text(errors="replace") for log in logs}
    for event in ("database_failed", "login_throttled", "health_check_failed", "request_finished"):
        assert event in said["api.log"]
    assert len(hunt.secrets) > 15
    assert {name: found for name, text in said.items() if (found := hunt.hits(text))} == {}
    assert [(asked, found) for asked, text, may in hunt.answers if (found := hunt.hits(text, may))] == []
    # What webhooks are signed with is kept as it is: there is no signing by a hash of it. And so is the address of a
    # picture that could not be fetched, until it has been, or its time is over.
    assert {name: found for name, text in rows(deployment) if (found := hunt.hits(text))} == {
        "webhook_secrets": ["webhook secret 1", "webhook secret 2"],
        "uploads": ["signature", "of a URL"],
    }
    assert hunt.hits(next(text for name, text in rows(deployment, of_accounts=True))) == ["e-mail"]


def comes_in(hunt: Hunt) -> dict[str, str]:
    """An account is made, and comes in and out in every way, right and wrong. Returns what its owner ends up with."""
    email, password = f"{hunt.plant('e-mail')}@example.com", hunt.plant("password")
    right = {"username": email, "password": password}
    assert hunt.ask(
        "POST", f"{API}/auth/register", json={"email": email, "password": password}, told=("e-mail",)
    ).is_success
    assert hunt.ask("POST", f"{API}/auth/register", json={"email": email, "password": password}).status_code == 409
    tokens = _tokens(hunt, hunt.ask("POST", f"{API}/auth/token", data=right, told=("access 1", "refresh 1")), 1)
    renewed = hunt.ask(
        "POST", f"{API}/auth/refresh", json={"refresh_token": tokens["refresh_token"]}, told=("access 2", "refresh 2")
    )
    _tokens(hunt, renewed, 2)
    assert hunt.ask("POST", f"{API}/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).status_code == 401
    last = _tokens(hunt, hunt.ask("POST", f"{API}/auth/token", data=right, told=("access 3", "refresh 3")), 3)
    bearing = {"Authorization": f"Bearer {last['access_token']}"}
    made = hunt.ask("POST", f"{API}/api-keys", json={"name": "shop"}, headers=bearing, told=("API key",)).json()["key"]
    hunt.plant("API key", made.rpartition("_")[2])
    for number, way in enumerate((("GET", f"{API}/webhook-secret"), ("POST", f"{API}/webhook-secret/rotate")), 1):
        name = f"webhook secret {number}"
        hunt.plant(name, hunt.ask(*way, headers=bearing, told=(name,)).json()["secret"].removeprefix("whsec_"))
    for wrong in _mistakes(hunt, email, password, made, last):
        assert 400 <= wrong().status_code < 500
    return {"X-API-Key": made}


def _tokens(hunt: Hunt, answer: httpx2.Response, number: int) -> dict[str, str]:
    tokens: dict[str, str] = answer.json()
    for kind in ("access", "refresh"):
        hunt.plant(f"{kind} {number}", tokens[f"{kind}_token"].rpartition(".")[2])
    return tokens


def _mistakes(
    hunt: Hunt, email: str, password: str, key: str, tokens: dict[str, str]
) -> Iterator[Callable[[], httpx2.Response]]:
    """What people send by mistake: the right secret in the wrong place, and the wrong one in the right place."""
    register, token, me = f"{API}/auth/register", f"{API}/auth/token", f"{API}/auth/me"
    for _ in range(7):  # until it has to wait
        yield lambda: hunt.ask("POST", token, data={"username": email, "password": hunt.plant("wrong password")})
    yield lambda: hunt.ask("POST", token, data={"username": password, "password": email})
    yield lambda: hunt.ask("POST", token, data={"username": email, "pass": password})
    yield lambda: hunt.ask("POST", token, json={"username": email, "password": password})
    yield lambda: hunt.ask("POST", f"{token}?username={email}&password={password}")
    yield lambda: hunt.ask("POST", register, content=f'{{"email": "{email}", "password": "{password}')
    yield lambda: hunt.ask("POST", register, json={"email": email, "password": [password]})
    yield lambda: hunt.ask("POST", register, json={"email": password, "password": password})
    yield lambda: hunt.ask("POST", f"{API}/auth/refresh", json={"refresh_token": tokens["access_token"]})
    yield lambda: hunt.ask("POST", f"{API}/auth/refresh", json={"token": tokens["refresh_token"]})
    yield lambda: hunt.ask("GET", me, params={"access_token": tokens["access_token"], "api_key": key})
    yield lambda: hunt.ask("GET", me, headers={"Authorization": f"Basic {password}"})
    yield lambda: hunt.ask("GET", me, headers={"Authorization": f"Bearer {tokens['refresh_token']}"})
    yield lambda: hunt.ask("GET", me, headers={"X-API-Key": f"{key}x"})
    yield lambda: hunt.ask("GET", f"{API}/nothing", headers={"Cookie": f"session={password}"})


def works(hunt: Hunt, headers: dict[str, str]) -> None:
    """A picture goes in and comes out; its address is tried with another signature."""
    sent = hunt.ask("POST", f"{API}/uploads", files={"file": ("a.jpg", encoded())}, headers=headers)
    assert sent.status_code == 202
    with httpx2.Client(base_url=hunt.deployment.url, headers=headers, timeout=30) as owner:
        (done,) = wait_done(owner, sent.json()["task_id"])
    assert done["status"] == "completed"
    signed = hunt.ask("GET", sent.headers["location"], headers=headers, told=("signature",)).json()["presigned_url"]
    signature = hunt.plant("signature", parse_qs(urlsplit(signed).query)["X-Amz-Signature"][0])
    assert httpx2.get(signed).status_code == 200
    assert httpx2.get(signed.replace(signature, signature[::-1])).status_code == 403
    given = hunt.ask(
        "POST", f"{API}/uploads/presign", json={"size_bytes": 5}, headers=headers, told=("signature of a put",)
    )
    hunt.plant("signature of a put", parse_qs(urlsplit(given.json()["url"]).query)["X-Amz-Signature"][0])
    for url, status in (
        (f"http://user:{hunt.plant('of a URL')}@127.0.0.1/photo.jpg", 422),
        (f"http://127.0.0.1/photo.jpg?token={hunt.secrets['of a URL']}", 202),
        (signed, 202),
    ):
        taken = hunt.ask("POST", f"{API}/uploads", data={"image_url": url}, headers=headers)
        assert taken.status_code == status
        if status == 202:  # the worker does not get to it, either
            with httpx2.Client(base_url=hunt.deployment.url, headers=headers, timeout=30) as owner:
                (over,) = wait_done(owner, taken.json()["task_id"])
            assert (over["status"], over["error_code"]) == ("failed", "url_not_fetched")


def with_wrong_secrets(hunt: Hunt) -> None:
    """Another API, whose settings are refused wherever they are shown."""
    wrong = {"AWS_SECRET_ACCESS_KEY": hunt.plant("wrong S3 secret")}
    for name in WITH_PASSWORD:
        url = urlsplit(hunt.deployment.environment[name])
        password = hunt.plant(f"wrong password of {name}")
        there = f"{url.username or ''}:{password}@{url.hostname}:{url.port}"
        wrong[name] = urlunsplit(url._replace(netloc=there))
    environment = hunt.deployment.environment | wrong
    other = dataclasses.replace(hunt.deployment, environment=environment, port=choose(()), processes={})
    other.start("api")
    try:
        wait_for(lambda: other.health()["status"] == "unhealthy", "it says so")
        checks = hunt.ask("GET", f"{other.url}/health").json()["checks"]
        assert [checks[name] for name in ("database", "redis", "s3")] == ["error", "error", "error"]
        given = {"username": "a@example.com", "password": hunt.secrets["password"]}
        assert hunt.ask("POST", f"{other.url}{API}/auth/token", data=given).status_code == 503
    finally:
        other.stop("api")


def without_the_database(hunt: Hunt, headers: dict[str, str]) -> None:
    """For a moment, and in the midst of it every secret is shown at the door."""
    services = hunt.deployment.services
    given = {"username": f"{hunt.secrets['e-mail']}@example.com", "password": hunt.secrets["password"]}
    services.stop("postgres")
    try:
        picture = {"file": ("a.jpg", encoded())}
        answers = [
            hunt.ask("POST", f"{API}/auth/token", data=given),
            hunt.ask("GET", f"{API}/auth/me", headers=headers),
            hunt.ask("POST", f"{API}/uploads", files=picture, headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [503, 503, 503]
        wait_for(lambda: hunt.deployment.health()["checks"].get("database") == "error", "the matrix knows")
    finally:
        services.start("postgres")
    hunt.deployment.wait_healthy()


def rows(deployment: Deployment, *, of_accounts: bool = False) -> Iterator[tuple[str, str]]:
    """Everything in the database, but for the accounts themselves; or these alone."""
    with deployment.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            if (table.name == "users") is of_accounts:
                yield table.name, json.dumps([list(row) for row in connection.execute(select(table))], default=str)
