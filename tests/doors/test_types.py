"""A value of another type than the description says is refused, and not taken for what it might mean."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

API = "/api/v1"


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/admin/cleanup", {"dry_run": 0}, "dry_run"),
        ("POST", "/admin/cleanup", {"dry_run": "no"}, "dry_run"),
        ("PATCH", "/admin/users/{id}", {"is_active": "yes"}, "is_active"),
        ("PATCH", "/admin/users/{id}", {"active_tasks": "5"}, "active_tasks"),
        ("PATCH", "/admin/users/{id}", {"active_tasks": True}, "active_tasks"),
        ("POST", "/uploads/presign", {"size_bytes": "5"}, "size_bytes"),
        ("POST", "/api-keys", {"name": "shop", "expires_in_days": "5"}, "expires_in_days"),
        ("POST", "/api-keys", {"name": "shop", "expires_at": 4_000_000_000}, "expires_at"),
        ("POST", "/api-keys", {"name": "shop", "expires_at": "4000000000"}, "expires_at"),
    ],
)
def test_of_a_body(administrator: TestClient, method: str, path: str, body: dict[str, Any], field: str) -> None:
    own = administrator.get(f"{API}/auth/me").json()["id"]
    answer = administrator.request(method, f"{API}{path}".replace("{id}", own), json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(f"{field}: ")


@pytest.mark.parametrize("when", ["0.5", "1795254148", "-1"])
def test_a_number_is_no_time(administrator: TestClient, when: str) -> None:
    answer = administrator.get(f"{API}/tasks", params={"created_after": when})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["detail"].startswith("created_after: ")
