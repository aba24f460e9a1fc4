"""The layers around every route: headers, hosts, origins, proxies, and errors that all look the same."""

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.api.middleware import EXPOSED, HEADERS
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from tests.conftest import make_settings
from tests.factories import make_task

MISSING = "0e20085f-0000-7000-8000-000000000000"


@contextmanager
def serving(environment: dict[str, str], **changes: Any) -> Iterator[TestClient]:
    with TestClient(create_app(make_settings(environment, **changes)), follow_redirects=False) as client:
        yield client


def assert_problem(answer: httpx2.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "path", ["/livez", "/", "/nothing", "/api/v1/tasks", "/api/v1/openapi.json", "/metrics", "/health"]
)
def test_every_answer_is_closed_to_browsers_guesses(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize(
    ("trusted", "peer", "seen"),
    [
        ("127.0.0.0/8", "127.0.0.1", "203.0.113.9"),
        ("", "127.0.0.1", "127.0.0.1"),
        ("10.0.0.1", "127.0.0.1", "127.0.0.1"),
    ],
)
def test_the_address_of_the_client_is_what_trusted_proxies_say(
    environment: dict[str, str], engine: Engine, trusted: str, peer: str, seen: str
) -> None:
    app = create_app(make_settings(environment, trusted_proxies=trusted))
    found: list[str] = []

    @app.get("/who")
    def who(request: Request) -> str:
        assert request.client is not None
        found.append(request.client.host)
        return request.url.scheme

    # What the client itself has claimed stands before what the proxy has added.
    told = {"X-Forwarded-For": "127.0.0.1, 198.51.100.1, 203.0.113.9", "X-Forwarded-Proto": "https"}
    with TestClient(app, client=(peer, 50_000)) as client:
        answer = client.get("/who", headers=told)
    assert found == [seen]
    assert answer.json() == ("https" if seen != peer else "http")
    assert ("strict-transport-security" in answer.headers) == (seen != peer)


def test_strange_hosts_are_told_so_and_probes_get_through(environment: dict[str, str]) -> None:
    with serving(environment, trusted_hosts="api.example.com, *.example.org") as client:
        for host in (
            "api.example.com",
            "API.example.com:8000",
            "a.example.org",
            "127.0.0.1:8000",
            "localhost",
            "[::1]:80",
        ):
            assert client.get("/info", headers={"Host": host}).status_code == 200
        for host in ("evil.com", "example.com", "api.example.com.evil.com", "x@api.example.com", "", "10.0.0.7:8000"):
            assert_problem(client.get("/info", headers={"Host": host}), 400, "unknown_host")
            assert client.get("/readyz", headers={"Host": host}).status_code == 200
            assert client.get("/livez", headers={"Host": host}).status_code == 200


ORIGIN = "https://app.example.com"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, idempotency-key",
}


def test_pages_of_no_origin_are_let_in_by_default(client: TestClient) -> None:
    answer = client.get("/livez", headers={"Origin": ORIGIN})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert_problem(client.options("/api/v1/uploads", headers=PREFLIGHT), 405, "method_not_allowed")


@pytest.mark.parametrize(("origins", "allowed"), [(f"{ORIGIN},https://b.example.com", ORIGIN), ("*", "*")])
def test_pages_of_named_origins_are(environment: dict[str, str], origins: str, allowed: str) -> None:
    with serving(environment, cors_origins=origins) as client:
        answer = client.options("/api/v1/uploads", headers=PREFLIGHT)
        assert answer.status_code == 200
        assert answer.headers["x-request-id"]
        assert "POST" in answer.headers["access-control-allow-methods"]
        for answered in (
            answer,
            client.get("/livez", headers={"Origin": ORIGIN}),
            client.get("/api/v1/tasks", headers={"Origin": ORIGIN}),  # 401
            client.post("/api/v1/auth/token", headers={"Origin": ORIGIN}, content=bytes(100_000)),  # 413, in plain text
        ):
            assert answered.headers["access-control-allow-origin"] == allowed
            assert "access-control-allow-credentials" not in answered.headers
        assert answered.status_code == 413
        assert answered.headers["access-control-expose-headers"] == ", ".join(EXPOSED)


def test_pages_of_others_are_not(environment: dict[str, str]) -> None:
    with serving(environment, cors_origins=ORIGIN) as client:
        strange = PREFLIGHT | {"Origin": "https://evil.example.com"}
        answer = client.options("/api/v1/uploads", headers=strange)
        assert_problem(answer, 400, "origin_refused")
        assert "access-control-allow-origin" not in answer.headers
        answer = client.get("/livez", headers={"Origin": "https://evil.example.com"})
        assert "access-control-allow-origin" not in answer.headers


def test_a_crash_can_be_read_by_an_allowed_page(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(environment, cors_origins=ORIGIN) as client:

        def crash(*_: object) -> None:
            raise RuntimeError("the inside")

        monkeypatch.setattr("app.services.health.Health.matrix", crash)
        answer = client.get("/health", headers={"Origin": ORIGIN})
    assert_problem(answer, 500, "internal_error")
    assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_head_is_get_without_its_body(
    client: TestClient, headers: dict[str, str], sessions: Sessions, user: User
) -> None:
    task = make_task(sessions, user.id)
    for path in ("/livez", "/info", f"/api/v1/tasks/{task}", "/api/v1/docs", "/nothing", f"/api/v1/tasks/{MISSING}"):
        got, asked = client.get(path, headers=headers), client.head(path, headers=headers)
        assert (asked.status_code, asked.content) == (got.status_code, b"")
        assert asked.headers["content-type"] == got.headers["content-type"]
    stream = client.head(f"/api/v1/tasks/{task}/events", headers=headers)
    assert stream.headers["content-type"].startswith("text/event-stream")
    refused = client.head("/api/v1/uploads", headers=headers)
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/livez", "GET, HEAD"),
        ("GET", "/api/v1/uploads", "POST"),
        ("PUT", f"/api/v1/tasks/{MISSING}", "GET, DELETE, HEAD"),
        ("OPTIONS", f"/api/v1/tasks/{MISSING}", "GET, DELETE, HEAD"),
        ("TRACE", "/", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(client: TestClient, method: str, path: str, allow: str) -> None:
    answer = client.request(method, path)
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    "path",
    ["/livez/", "/api/v1/tasks/", "/%00", "/livez%00", "/%zz", "/%ff", "/..%2flivez", "/api/v1/docs/x"],
)
def test_paths_are_exact(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"Host": "evil.example"})
    assert_problem(answer, 404, "not_found")


def test_links_do_not_come_from_the_host_header(
    client: TestClient, headers: dict[str, str], sessions: Sessions, user: User
) -> None:
    for _ in range(2):
        make_task(sessions, user.id)
    answer = client.get("/api/v1/tasks?limit=1&status=queued", headers=headers | {"Host": "evil.example"})
    assert answer.links["next"]["url"].startswith("/api/v1/tasks?limit=1&status=queued&cursor=")
    assert "evil" not in str(answer.headers) + answer.text
    following = client.get(answer.links["next"]["url"], headers=headers)
    assert len(following.json()["tasks"]) == 1


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_body"),
        (b'{"a": "\xff"}', "application/json", 400, "malformed_body"),
        (b"[" * 30_000, "application/json", 400, "malformed_body"),
        (b"{}", "application/json", 422, "invalid_request"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"{}", "", 415, "unsupported_media_type"),
        (b"", "application/json", 422, "invalid_request"),
        (b"x" * 100_000, "application/json", 413, "body_too_large"),
    ],
)
def test_a_broken_body_is_the_senders_fault(
    client: TestClient, content: bytes, kind: str, status: int, code: str
) -> None:
    answer = client.post("/api/v1/auth/register", content=content, headers={"Content-Type": kind})
    assert_problem(answer, status, code)


def test_what_the_database_cannot_hold_is_the_senders_fault(
    client: TestClient, headers: dict[str, str], sessions: Sessions, user: User
) -> None:
    with sessions.begin() as session:
        session.merge(user).role = "admin"
    answer = client.get("/api/v1/admin/failed-tasks?error_code=a%00b", headers=headers)
    assert_problem(answer, 422, "invalid_request")


def test_the_docs_ask_nobody_else(client: TestClient) -> None:
    page = client.get("/api/v1/docs")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src 'self' 'sha256-" in policy
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(files) == 3
    for file in files:
        assert file.startswith("/api/v1/docs/")
        assert client.get(file).status_code == 200
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert "://" not in re.sub(r"<!--.*?-->", "", page.text)


def test_the_docs_can_be_switched_off(environment: dict[str, str]) -> None:
    with serving(environment, docs_enabled=False) as client:
        for path in ("/api/v1/docs", "/api/v1/openapi.json", "/api/v1/docs/swagger-ui.css", "/docs", "/openapi.json"):
            assert_problem(client.get(path), 404, "not_found")
        root = client.get("/", headers={"Accept": "text/html"})
        assert (root.status_code, root.json()["docs"]) == (200, None)


def test_the_metrics_are_for_those_who_may(
    environment: dict[str, str], headers: dict[str, str], sessions: Sessions, user: User
) -> None:
    with serving(environment, metrics_open=False) as client:
        assert_problem(client.get("/metrics"), 401, "not_authenticated")
        assert_problem(client.get("/metrics", headers=headers), 403, "insufficient_scope")
        with sessions.begin() as session:
            session.merge(user).role = "admin"
        assert client.get("/metrics", headers=headers).status_code == 200
