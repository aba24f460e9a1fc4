"""What a batch is promised, refused and counted as while it is taken in."""

import io
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError

from app.api.bodies import MAX_JSON
from app.db import usage
from app.db.base import Sessions
from app.db.models import IdempotencyKey, User
from app.main import create_app
from app.services.batches import Batches
from app.storage.memory import MemoryStore
from tests.api.conftest import headers
from tests.batches.test_batches import PICTURE, URL, client, files, kept, rows
from tests.conftest import make_settings

__all__ = ["client", "headers", "kept"]


def test_what_a_row_of_a_list_may_not_name_is_refused_by_itself(
    client: TestClient, sessions: Sessions, kept: MemoryStore, user: User
) -> None:
    key = f"imports/{user.id}/cup.jpg"
    kept.put(key, io.BytesIO(PICTURE), "image/jpeg")
    listed = f"s3_key,background\n{key},navy\n{key},s3:imports/{uuid4()}/beach.png\n{key},http://\n"
    told = client.post(URL, files=files(("list.csv", listed.encode()))).json()
    assert told["total"] == 1
    assert [entry["code"] for entry in told["refused"]] == ["s3_key_not_found", "invalid_url"]


def test_names_that_are_repeated_hold_no_secrets_and_can_be_kept(client: TestClient) -> None:
    urls = ["https://user:CANARY@example.com/a.png?token=CANARY", "https://example.com/\0"]
    told = client.post(URL, json={"image_urls": urls, "s3_keys": ["a\0b"], "name": "ä\r\n"}).json()
    assert told["code"] == "batch_empty"
    told = client.post(URL, json={"image_urls": [*urls, "https://example.com/"], "s3_keys": ["a\0b"]}).json()
    assert [entry["name"] for entry in told["refused"]] == ["https://example.com/a.png", "https://example.com/", "ab"]


def test_urls_that_are_switched_off_are_refused_one_by_one(
    environment: dict[str, str], headers: dict[str, str], kept: MemoryStore
) -> None:
    closed = make_settings(environment, url_ingest_enabled=False)
    with TestClient(create_app(closed, store=kept), headers=headers) as client:
        sent = files(("a.jpg", PICTURE))
        told = client.post(URL, files=sent, data={"image_url": "https://example.com/a.png"}).json()
    assert (told["total"], [entry["code"] for entry in told["refused"]]) == (1, ["url_ingest_disabled"])


def test_a_long_list_as_json_is_refused_before_it_is_read(client: TestClient) -> None:
    answer = client.post(
        URL, content=b'{"image_urls": [' + b" " * MAX_JSON, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_its_pictures_do_not_keep_single_ones_out(
    client: TestClient, sessions: Sessions, user: User, kept: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While they are taken in, too."""
    seen = []

    def put(key: str, body: Any, content_type: str) -> None:
        with sessions.begin() as session:
            seen.append(usage.active(session, user.id))

    monkeypatch.setattr(kept, "put", put)
    client.post(URL, files=files(("a.jpg", PICTURE), ("b.jpg", PICTURE + b"x")))
    assert seen == [0, 0]


def test_a_commit_whose_answer_was_lost_was_made(
    client: TestClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    promise = Batches._promise

    def lost(self: Batches, intake: Any) -> None:
        promise(self, intake)
        raise OperationalError("COMMIT", None, Exception("the connection was lost"))

    monkeypatch.setattr(Batches, "_promise", lost)
    answer = client.post(URL, files=files(("a.jpg", PICTURE)), headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["total"]) == (202, 1)
    assert len(rows(sessions)) == 1


def test_a_long_intake_keeps_its_key(
    client: TestClient, sessions: Sessions, kept: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, held = kept.put, []

    def slow(key: str, body: Any, content_type: str) -> None:
        put(key, body, content_type)
        with sessions.begin() as session:  # as if the last picture had taken long
            session.execute(update(IdempotencyKey).values(locked_at=func.now() - timedelta(seconds=50)))
            held.append(session.scalar(select(func.count()).select_from(IdempotencyKey)))

    monkeypatch.setattr(kept, "put", slow)
    sent = files(("a.jpg", PICTURE), ("b.jpg", PICTURE + b"x"))
    assert client.post(URL, files=sent, headers={"Idempotency-Key": "k"}).status_code == 202
    assert held == [1, 1]


def test_one_account_fills_half_of_the_queue_and_keeps_no_single_picture_out(
    environment: dict[str, str], headers: dict[str, str], sessions: Sessions, kept: MemoryStore
) -> None:
    settings = make_settings(environment, max_backlog_seconds=4)
    with TestClient(create_app(settings, store=kept), headers=headers) as client:
        answers = []
        for _ in range(4):
            told = client.post(URL, json={"image_urls": ["https://example.com/a.png"]})
            answers.append((told.status_code, told.json().get("code")))
        assert answers == [(202, None), (202, None), (202, None), (503, "backlog_full")]
        assert client.post("/api/v1/uploads", files={"file": ("a.jpg", PICTURE)}).status_code == 202
