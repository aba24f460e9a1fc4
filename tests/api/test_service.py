"""What the service says about itself, and how every error is worded."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.api.schemas.options import WISHES
from app.core.config import Settings
from app.core.operations import operations
from app.core.options import RemovalOptions
from app.db import heartbeats
from app.db.base import Sessions
from app.main import create_app
from app.services import health as health_service
from app.version import VERSION
from tests.conftest import make_settings

NOWHERE = {
    "database": {"database_url": "postgresql://a:b@127.0.0.1:9/c_test"},
    "redis": {"redis_url": "redis://127.0.0.1:9/0"},
    "s3": {"s3_endpoint_url": "http://127.0.0.1:9"},
}


@pytest.fixture(autouse=True)
def _always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_service, "FRESH", 0.0)


@pytest.fixture
def _staffed(sessions: Sessions) -> None:
    with sessions.begin() as session:
        heartbeats.beat(session, "host:1", "worker", engine="openvino bf16: it is fast")
        heartbeats.beat(session, "host:2", "sweeper")


def without(environment: dict[str, str], *parts: str) -> Iterator[TestClient]:
    changes: dict[str, Any] = {}
    for part in parts:
        changes |= NOWHERE[part]
    with TestClient(create_app(make_settings(environment, **changes))) as client:
        yield client


@pytest.mark.usefixtures("_staffed")
@pytest.mark.parametrize("path", ["/health", "/api/v1/health", "/api/health"])
def test_all_is_well(client: TestClient, path: str) -> None:
    answer = client.get(path)
    body = answer.json()
    assert (answer.status_code, body["status"]) == (200, "healthy")
    assert body["checks"] == dict.fromkeys(["api", "database", "redis", "s3", "workers", "sweeper"], "ok")
    assert (body["service"], body["version"]) == ("quickbg-backend", VERSION)
    assert body["details"]["workers"] == {
        "online": 1,
        "engines": {"openvino bf16: it is fast": 1},
        "queued": 0,
        "oldest_queued_s": None,
    }
    assert body["details"]["database"]["latency_ms"] > 0


def test_nobody_works(client: TestClient) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert (answer.json()["checks"]["workers"], answer.json()["checks"]["sweeper"]) == ("error", "error")
    assert answer.json()["details"]["workers"]["online"] == 0


@pytest.mark.usefixtures("_staffed")
@pytest.mark.parametrize(
    ("down", "status", "code"),
    [
        (["redis"], "degraded", 200),
        (["s3"], "unhealthy", 503),
        (["redis", "s3"], "unhealthy", 503),
        (["database"], "unhealthy", 503),
        (["database", "redis", "s3"], "unhealthy", 503),
    ],
)
def test_what_is_down_is_named(environment: dict[str, str], down: list[str], status: str, code: int) -> None:
    for client in without(environment, *down):
        answer = client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (code, status)
        checks = answer.json()["checks"]
        assert {name for name in NOWHERE if checks[name] in {"error", "timeout"}} == set(down)
        assert (checks["workers"] == "skipped") == ("database" in down)
        for secret in ("127.0.0.1", "postgresql", "redis://"):
            assert secret not in answer.text


def test_alive_and_ready(client: TestClient, environment: dict[str, str]) -> None:
    assert client.get("/livez").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    for lost in without(environment, "database"):
        assert lost.get("/livez").status_code == 200
        answer = lost.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")


def test_a_database_that_is_away_is_said_so(environment: dict[str, str], headers: dict[str, str]) -> None:
    for client in without(environment, "database"):
        answer = client.get("/api/v1/tasks", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert answer.headers["retry-after"]


def test_info(client: TestClient, settings: Settings) -> None:
    body = client.get("/info").json()
    assert body["version"] == VERSION
    assert [operation["name"] for operation in body["operations"]] == list(operations())
    assert body["operations"][0]["summary"].startswith("The subject alone")
    assert body["limits"]["max_image_bytes"] == settings.max_image_bytes
    assert body["limits"]["formats"] == ["JPEG", "PNG", "WEBP", "BMP"]
    (model,) = body["models"]
    assert model["name"] == "isnet-general-use"
    assert model["commercial"] is False
    assert "DIS5K" in " ".join(model["licences"])


@pytest.mark.usefixtures("_staffed")
def test_info_tells_what_the_workers_run(client: TestClient, sessions: Sessions) -> None:
    with sessions.begin() as session:
        heartbeats.beat(session, "host:3", "worker")  # as one of the version before, which did not say

    assert client.get("/info").json()["engines"] == [{"name": "openvino bf16", "reason": "it is fast", "workers": 1}]


def test_the_root_tells_programs_and_leads_browsers(client: TestClient) -> None:
    body = client.get("/").json()
    assert body == {"service": "quickbg-backend", "status": "running", "docs": "/api/v1/docs"}
    led = client.get("/", headers={"Accept": "text/html"})
    assert (led.status_code, led.headers["location"]) == (307, "/api/v1/docs")
    assert client.get("/api/v1/docs").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("DELETE", "/livez", 405, "method_not_allowed"),
        ("GET", "/api/v1/uploads", 405, "method_not_allowed"),
        ("POST", "/api/v1/auth/register", 422, "invalid_request"),
        ("GET", "/api/v1/tasks", 401, "not_authenticated"),
    ],
)
def test_every_error_is_a_problem_document(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    answer = client.request(method, path)
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert set(body) >= {"type", "title", "status", "detail", "code", "request_id"}
    assert body["detail"].endswith((".", "…'.", "required"))


def test_a_crash_shows_no_inside(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr(health_service.Health, "matrix", crash)
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert "inside" not in answer.text


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("abc-1.2_3", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ('a"}\n', False), ("", False)],
)
def test_the_request_id_is_taken_when_it_is_sane(client: TestClient, sent: str, kept: bool) -> None:
    answer = client.get("/livez", headers={"X-Request-ID": sent.replace("\n", "%")})
    assert (answer.headers["x-request-id"] == sent) == kept
    assert answer.headers["x-request-id"]


ROUTES = {
    "POST /api/v1/uploads",
    "GET /api/v1/tasks",
    "GET /api/v1/tasks/{task_id}",
    "GET /api/v1/tasks/{task_id}/result",
    "GET /api/v1/tasks/{task_id}/history",
    "GET /api/v1/tasks/{task_id}/events",
    "POST /api/v1/tasks/{task_id}/cancel",
    "POST /api/v1/tasks/{task_id}/retry",
    "DELETE /api/v1/tasks/{task_id}",
    "POST /api/v1/tasks/{task_id}/render",
    "GET /api/v1/batches",
    "POST /api/v1/batches",
    "GET /api/v1/batches/{batch_id}",
    "POST /api/v1/batches/{batch_id}/cancel",
    "GET /api/v1/batches/{batch_id}/archive",
    "GET /api/v1/recipes",
    "POST /api/v1/recipes",
    "GET /api/v1/recipes/{recipe_name}",
    "PUT /api/v1/recipes/{recipe_name}",
    "DELETE /api/v1/recipes/{recipe_name}",
    "GET /api/v1/admin/failed-tasks",
    "POST /api/v1/admin/failed-tasks/requeue",
    "POST /api/v1/admin/cleanup",
    "GET /api/v1/admin/stats",
    "POST /api/v1/auth/token",
    "POST /api/v1/auth/register",
    "GET /api/v1/auth/me",
    "POST /api/jobs/remove-bg",
    "POST /api/jobs/remove-bg-batch",
    "GET /api/jobs/{job_id}",
    "POST /api/jobs/{job_id}/cancel",
    "GET /api/jobs/{job_id}/download",
    "GET /api/failed-jobs",
    "POST /api/admin/cleanup",
    "GET /api/health",
    "GET /api/metrics",
    "GET /api/v1/health",
    "GET /health",
    "GET /livez",
    "GET /metrics",
    "GET /readyz",
    "GET /info",
    "GET /",
    "GET /api/v1/admin/users",
    "PATCH /api/v1/admin/users/{user_id}",
    "GET /api/v1/api-keys",
    "POST /api/v1/api-keys",
    "DELETE /api/v1/api-keys/{key_id}",
    "POST /api/v1/auth/logout",
    "POST /api/v1/auth/password",
    "POST /api/v1/auth/refresh",
    "POST /api/v1/uploads/presign",
    "GET /api/v1/usage",
    "GET /api/v1/webhook-secret",
    "POST /api/v1/webhook-secret/rotate",
    "GET /api/remove",
    "POST /api/remove",
    "POST /api/v1/remove-background",
    "POST /api/v1/remove-backgrounds",
    "POST /process",
    "POST /api/v2/remove-backgrounds",
    "POST /api/v2/remove-backgrounds/results",
    "GET /api/v1/webhook-deliveries",
    "GET /api/v1/webhook-deliveries/{delivery_id}",
    "POST /api/v1/webhook-deliveries/{delivery_id}/redeliver",
    "GET /v1.0/account",
    "POST /v1.0/improve",
    "POST /v1.0/removebg",
}


def test_the_schema_describes_every_route(client: TestClient) -> None:
    schema = client.get("/api/v1/openapi.json").json()
    operations = {f"{method.upper()} {path}" for path, item in schema["paths"].items() for method in item}
    assert operations == ROUTES
    for item in schema["paths"].values():
        for operation in item.values():
            assert operation["summary"]
    assert "Problem" in schema["components"]["schemas"]
    assert "ValidationError" not in json.dumps(schema)
    form = schema["paths"]["/api/v1/uploads"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    fields = form["properties"]
    assert set(fields) == {"file", "s3_key", "image_url", *WISHES, *RemovalOptions.model_fields}
    assert (fields["quality"]["enum"], fields["quality"]["default"]) == (["balanced", "best", ""], "balanced")
    assert (fields["format"]["enum"], fields["format"]["default"]) == (["png", "webp", "jpg", "zip", "auto", ""], "png")
    assert "$defs" not in json.dumps(schema)
