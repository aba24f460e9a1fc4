"""What the tests of accounts do over HTTP."""

import json
from typing import Any
from uuid import UUID

from fastapi.testclient import TestClient
from sqlalchemy import update

from app.db.base import Sessions
from app.db.models import User

PASSWORD = "correct horse battery staple"
ADA = "ada@example.com"


def register(client: TestClient, email: str = ADA, password: str = PASSWORD) -> Any:
    return client.post("/api/v1/auth/register", json={"email": email, "password": password})


def log_in(client: TestClient, email: str = ADA, password: str = PASSWORD) -> Any:
    return client.post("/api/v1/auth/token", data={"username": email, "password": password})


def begin(client: TestClient, email: str = ADA) -> dict[str, Any]:
    """The tokens of a fresh login to a fresh account."""
    assert register(client, email).status_code == 201
    answer = log_in(client, email)
    assert answer.status_code == 200
    return dict(answer.json())


def refresh(client: TestClient, token: str) -> Any:
    return client.post("/api/v1/auth/refresh", json={"refresh_token": token})


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def me(client: TestClient, token: str) -> Any:
    return client.get("/api/v1/auth/me", headers=bearing(token))


def make_key(client: TestClient, headers: dict[str, str], **members: Any) -> Any:
    body = json.dumps({"name": "shop"} | members)  # in ASCII: a client of ours could not send what is no text
    return client.post("/api/v1/api-keys", content=body, headers=headers | {"Content-Type": "application/json"})


def promote(sessions: Sessions, user_id: UUID) -> None:
    with sessions.begin() as session:
        session.execute(update(User).where(User.id == user_id).values(role="admin"))


def problem(answer: Any) -> dict[str, Any]:
    """A problem document, without what differs between any two."""
    return {name: value for name, value in answer.json().items() if name != "request_id"}
