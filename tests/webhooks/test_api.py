"""Webhooks over HTTP: the address with an upload, the secret, the messages and their tries."""

import io
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from app.core.config import Settings
from app.db import tasks
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from app.storage.base import import_key
from app.storage.s3 import S3Store
from tests.api.conftest import bearer
from tests.conftest import make_user
from tests.factories import ago, row
from tests.outbound.sites import saying, site
from tests.pictures import encoded
from tests.webhooks.messages import OK, Courier, make_delivery, status, told, wait_tried

URL = "https://shop.example.com/hook?token=7"
API = "/api/v1"
PICTURE = encoded()


@pytest.fixture
def client(settings: Settings, sessions: Sessions, s3_store: S3Store, user: User) -> Iterator[TestClient]:
    with TestClient(create_app(settings), headers=bearer(settings, user.id)) as client:
        yield client


def upload(client: TestClient, *, key: str | None = None, **fields: str) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(f"{API}/uploads", files={"file": ("a.jpg", PICTURE)}, data=fields, headers=headers)


def test_the_address_comes_with_the_upload(client: TestClient, sessions: Sessions) -> None:
    answer = upload(client, webhook_url="HTTPS://Shop.Example.com/hook?token=7")
    assert answer.status_code == 202
    task_id = UUID(answer.json()["task_id"])
    assert row(sessions, task_id).webhook_url == URL
    assert "webhook_url" not in row(sessions, task_id).options
    with sessions.begin() as session:
        tasks.cancel(session, task_id)
    assert [message.url for message in told(sessions, task_id)] == [URL]


def test_a_task_that_is_taken_away_leaves_its_messages(client: TestClient, sessions: Sessions) -> None:
    task_id = UUID(upload(client, webhook_url=URL).json()["task_id"])
    assert client.delete(f"{API}/tasks/{task_id}").status_code == 204
    (only,) = client.get(f"{API}/webhook-deliveries", params={"task_id": str(task_id)}).json()["deliveries"]
    assert (only["type"], only["status"]) == ("task.cancelled", "pending")


def test_an_empty_address_is_none(client: TestClient, sessions: Sessions) -> None:
    answer = upload(client, webhook_url="")
    assert row(sessions, UUID(answer.json()["task_id"])).webhook_url is None


@pytest.mark.parametrize(
    "url", ["ftp://example.com/", "example.com", "https://u:p@example.com/", "https://", "x" * 3000]
)
def test_what_is_no_address_is_refused(client: TestClient, url: str) -> None:
    answer = upload(client, webhook_url=url)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_url")
    assert answer.json()["detail"].startswith("webhook_url: The URL must begin with")


def test_a_file_is_no_address(client: TestClient) -> None:
    answer = client.post(f"{API}/uploads", files={"file": ("a.jpg", PICTURE), "webhook_url": ("b", b"http://a")})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_option")


@pytest.mark.parametrize("by_key", [False, True])
def test_another_address_is_another_request(
    client: TestClient, user: User, s3_store: S3Store, sessions: Sessions, by_key: bool
) -> None:
    s3_key = import_key(user.id, uuid4())
    s3_store.put(s3_key, io.BytesIO(PICTURE), "image/jpeg")

    def send(**fields: str) -> Any:
        if not by_key:
            return upload(client, key="one", **fields)
        return client.post(f"{API}/uploads", data={"s3_key": s3_key, **fields}, headers={"Idempotency-Key": "one"})

    first = send(webhook_url=URL)
    assert first.status_code == 202
    assert send(webhook_url=URL).json()["task_id"] == first.json()["task_id"]
    for fields in ({"webhook_url": "https://other.example.com/"}, {}):
        answer = send(**fields)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert row(sessions, UUID(first.json()["task_id"])).webhook_url == URL


def test_the_secret_is_made_once_and_replaced_when_asked(client: TestClient) -> None:
    first = client.get(f"{API}/webhook-secret")
    assert first.status_code == 200
    assert first.headers["cache-control"] == "no-store"
    assert first.json()["previous_expires_at"] is None
    assert client.get(f"{API}/webhook-secret").json() == first.json()
    second = client.post(f"{API}/webhook-secret/rotate")
    assert second.status_code == 200
    assert second.json()["secret"] != first.json()["secret"]
    assert second.json()["previous_expires_at"] > second.json()["created_at"]
    assert client.get(f"{API}/webhook-secret").json() == second.json()


def test_each_account_has_its_own(client: TestClient, settings: Settings, sessions: Sessions) -> None:
    other = bearer(settings, make_user(sessions).id)
    mine, theirs = (client.get(f"{API}/webhook-secret", headers=headers).json() for headers in ({}, other))
    assert mine["secret"] != theirs["secret"]


def test_what_was_tried_is_shown_without_what_was_answered(
    client: TestClient, courier: Courier, sessions: Sessions, user: User
) -> None:
    with site(saying(status(500, "X-Secret: inside") + b"inside")) as there, courier.at_work():
        made = make_delivery(sessions, user.id, there.url, task_id=uuid4())
        wait_tried(sessions, made, 1)
    answer = client.get(f"{API}/webhook-deliveries/{made}")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["delivery_id"], told["status"], told["attempts"], told["ended_at"]) == (str(made), "pending", 1, None)
    assert told["next_at"] is not None
    assert told["payload"]["type"] == "task.completed"
    (only,) = told["tries"]
    assert (only["status_code"], only["error"], set(only)) == (
        500,
        "refused",
        {"at", "status_code", "error", "duration_ms"},
    )
    assert "inside" not in answer.text


def test_the_messages_are_listed_by_pages(client: TestClient, sessions: Sessions, user: User) -> None:
    task_id = uuid4()
    made = [make_delivery(sessions, user.id, created_at=ago(60 - n), next_at=ago(-60)) for n in range(5)]
    ended = make_delivery(sessions, user.id, status="failed", ended_at=ago(1), created_at=ago(99), task_id=task_id)
    make_delivery(sessions, make_user(sessions).id)
    found, params = [], {"limit": 2}
    while True:
        answer = client.get(f"{API}/webhook-deliveries", params=params).json()
        found += [UUID(each["delivery_id"]) for each in answer["deliveries"]]
        if answer["next_cursor"] is None:
            break
        params = {"limit": 2, "cursor": answer["next_cursor"]}
    assert found == [*reversed(made), ended]
    for query in ({"status": "failed"}, {"task_id": str(task_id)}):
        (only,) = client.get(f"{API}/webhook-deliveries", params=query).json()["deliveries"]
        assert (only["delivery_id"], only["next_at"]) == (str(ended), None)
    assert client.get(f"{API}/webhook-deliveries?cursor=x").json()["code"] == "invalid_cursor"


def test_an_ended_message_is_sent_again(client: TestClient, courier: Courier, sessions: Sessions, user: User) -> None:
    with site(saying(OK)) as there:
        ended = make_delivery(sessions, user.id, there.url, status="failed", ended_at=ago(1), attempts=11)
        path = f"{API}/webhook-deliveries/{ended}"
        answer = client.post(f"{path}/redeliver")
        assert (answer.status_code, answer.json()["status"], answer.json()["attempts"]) == (202, "pending", 0)
        again = client.post(f"{path}/redeliver")
        assert (again.status_code, again.json()["code"]) == (409, "delivery_pending")
        with courier.at_work():
            wait_tried(sessions, ended, 1)
    assert client.get(path).json()["status"] == "delivered"
    missing = client.post(f"{API}/webhook-deliveries/{uuid4()}/redeliver")
    assert (missing.status_code, missing.json()["code"]) == (404, "delivery_not_found")
