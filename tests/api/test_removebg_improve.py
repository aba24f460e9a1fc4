"""`POST /v1.0/improve`: pictures that are left for the operator, who alone has them."""

import base64
import io
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from app.core.config import Settings
from app.core.errors import StorageUnavailable
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from app.services import limits
from app.services.audit import Audit
from app.services.retention import Retention
from app.storage.memory import MemoryStore
from tests.api.conftest import bearer, client, headers
from tests.conftest import make_settings, make_user
from tests.pictures import encoded

__all__ = ["client", "headers"]

IMPROVE = "/v1.0/improve"
DATA = encoded()
TEXT = base64.b64encode(DATA).decode()


class Store(MemoryStore):
    """Takes nothing whose key ends so."""

    refused = "nothing"

    def put(self, key: str, body: BinaryIO, content_type: str) -> None:
        if key.endswith(self.refused):
            raise StorageUnavailable("The object store does not answer.")
        super().put(key, body, content_type)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def open_to_all(environment: dict[str, str], store: Store, settings: Settings, user: User) -> Iterator[TestClient]:
    made = make_settings(environment, improve_enabled=True)
    with TestClient(create_app(made, store=store), headers=bearer(settings, user.id)) as client:
        yield client


def kept(store: MemoryStore, user: User, answer: Any) -> tuple[bytes, dict[str, Any]]:
    """The picture of the answer, and what is known of it."""
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"id"}
    key = f"improve/{user.id}/{UUID(answer.json()['id'])}"
    return store.get(key), json.loads(store.get(f"{key}.json"))


@pytest.mark.parametrize(
    ("sent", "filename"),
    [
        ({"files": {"image_file": ("cup.jpg", DATA)}}, "cup.jpg"),
        ({"files": {"image_file": DATA}, "data": {"image_filename": "../a/red.jpg"}}, "red.jpg"),
        ({"data": {"image_file_b64": TEXT, "image_filename": ""}}, None),
        ({"json": {"image_file_b64": f"data:image/jpeg;base64,{TEXT}", "image_filename": "red.jpg"}}, "red.jpg"),
    ],
)
def test_a_picture_is_kept_with_what_is_said_of_it(
    open_to_all: TestClient, store: Store, user: User, sent: dict[str, Any], filename: str | None
) -> None:
    fields = "json" if "json" in sent else "data"
    sent = sent | {fields: sent.get(fields, {}) | {"tag": "hair " * 100}}
    data, known = kept(store, user, open_to_all.post(IMPROVE, **sent))
    assert data == DATA
    assert (known["filename"] if filename else None) == filename
    assert known["tag"] == ("hair " * 100)[:200]
    assert (known["format"], known["width"] > 0, known["height"] > 0) == ("JPEG", True, True)
    assert datetime.fromisoformat(known["received_at"]).tzinfo is not None
    assert len(store.objects) == 2


def test_it_is_off_unless_asked_for(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post(IMPROVE, headers=headers, files={"image_file": DATA})
    assert (answer.status_code, answer.json()) == (
        403,
        {"errors": [{"title": "This server takes in no pictures to improve.", "code": "improve_disabled"}]},
    )


def test_nothing_is_fetched(open_to_all: TestClient, store: Store) -> None:
    answer = open_to_all.post(IMPROVE, data={"image_url": "https://example.com/cup.jpg"})
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"]) == (400, "failed_image_download")
    assert error["title"].startswith("Failed to download image from given image_url: ")
    assert store.objects == {}


def test_so_many_in_a_day(
    open_to_all: TestClient, store: Store, sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limits.IMPROVEMENTS == 100
    monkeypatch.setattr(limits, "IMPROVEMENTS", 2)
    answers = [open_to_all.post(IMPROVE, files={"image_file": DATA}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["errors"][0]["code"] == "rate_limit_exceeded"
    assert 3600 < int(answers[2].headers["retry-after"]) <= 2 * 86_400
    assert len(store.objects) == 4
    assert open_to_all.post(IMPROVE, files={"image_file": b"no picture"}).status_code == 400  # before it is counted
    other = bearer(settings, make_user(sessions).id)
    assert open_to_all.post(IMPROVE, headers=other, files={"image_file": DATA}).status_code == 200


@pytest.mark.parametrize("refused", [".json", tuple("0123456789abcdef")])
def test_a_store_that_fails_half_way_keeps_nothing(open_to_all: TestClient, store: Store, refused: Any) -> None:
    store.refused = refused
    answer = open_to_all.post(IMPROVE, files={"image_file": DATA})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, "storage_unavailable")
    assert store.objects == {}


def test_nobody_but_the_operator_takes_them_away(
    open_to_all: TestClient, store: Store, settings: Settings, sessions: Sessions, user: User
) -> None:
    kept(store, user, open_to_all.post(IMPROVE, files={"image_file": DATA}))
    store.put("originals/a/b", io.BytesIO(b"x"), "text/plain")
    Retention(settings, sessions, store).clean()
    audited = Audit(sessions, store, age=-3600).run(delete=True)
    assert (audited.objects, audited.orphans) == (3, 1)
    assert len([key for key in store.objects if key.startswith(f"improve/{user.id}/")]) == 2


def test_nobody_can_name_them_as_his_own(open_to_all: TestClient, user: User, store: Store) -> None:
    answer = open_to_all.post(IMPROVE, files={"image_file": DATA})
    for key in (f"improve/{user.id}/{answer.json()['id']}", f"improve/{user.id}/{uuid4()}"):
        found = open_to_all.post("/api/v1/uploads", data={"s3_key": key})
        assert (found.status_code, found.json()["code"]) == (404, "s3_key_not_found")
