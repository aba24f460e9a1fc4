"""Images by URL and by key: `POST /uploads` without a file, and `POST /uploads/presign`."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from app.api.v1.uploads import MAX_FIELDS
from app.core.config import Settings
from app.core.states import TaskStatus, UploadStatus
from app.db.base import Sessions
from app.db.models import Task, User
from app.main import create_app
from app.storage.memory import MemoryStore
from app.storage.s3 import S3Store
from tests.api.conftest import bearer, client, headers
from tests.conftest import make_settings, make_user
from tests.factories import row
from tests.outbound.sites import ok, saying, site
from tests.pictures import encoded, subject

__all__ = ["client", "headers"]

URL = "/api/v1/uploads"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def near(environment: dict[str, str]) -> Settings:
    """Settings that let the API fetch from this machine."""
    return make_settings(environment, outbound_allowed_networks="127.0.0.0/8", s3_key_shared_prefixes="shared/")


@pytest.fixture
def kept() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def http(near: Settings, kept: MemoryStore, headers: dict[str, str]) -> Iterator[TestClient]:
    """A logged-in client of an API with a store of its own."""
    with TestClient(create_app(near, store=kept), headers=headers) as client:
        yield client


def refusal(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


# ---- by URL


def test_an_image_by_its_url_is_promised_and_left_to_the_worker(
    http: TestClient, kept: MemoryStore, sessions: Sessions, user: User
) -> None:
    with site(saying(ok(encoded()))) as running:
        answer = http.post(URL, data={"image_url": f"{running.url}?token=x", "format": "webp"})
        assert running.connections == 0
    assert answer.status_code == 202
    task = row(sessions, UUID(answer.json()["task_id"]))
    assert (task.user_id, task.status, task.options["format"]) == (user.id, TaskStatus.QUEUED, "webp")
    assert (task.upload.status, task.upload.filename) == (UploadStatus.REMOTE, "picture.png")
    assert task.upload.source_url == f"{running.url}?token=x"
    assert kept.objects == {}


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/a.png",
        "http://user:password@127.0.0.1/a.png",
        "a.png",
        "http://127.0.0.1/" + "a" * 2048,
    ],
)
def test_what_is_no_url_is_refused_at_once(http: TestClient, url: str) -> None:
    answer = http.post(URL, data={"image_url": url})
    assert refusal(answer) == (422, "invalid_url")
    assert "127.0.0.1" not in answer.json()["detail"]
    assert "password" not in answer.json()["detail"].replace("no user name or password", "")


def test_urls_can_be_switched_off(environment: dict[str, str], headers: dict[str, str], sessions: Sessions) -> None:
    closed = make_settings(environment, url_ingest_enabled=False, outbound_allowed_networks="127.0.0.0/8")
    with site(saying(ok(encoded()))) as running, TestClient(create_app(closed, store=MemoryStore())) as http:
        answer = http.post(URL, headers=headers, data={"image_url": running.url})
        assert refusal(answer) == (403, "url_ingest_disabled")
        assert running.connections == 0


def test_a_repeated_request_is_one(http: TestClient, sessions: Sessions) -> None:
    key, form = {"Idempotency-Key": "once"}, {"image_url": "https://example.com/a.png"}
    first = http.post(URL, headers=key, data=form)
    again = http.post(URL, headers=key, data=form)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = http.post(URL, headers=key, data={"image_url": "https://example.com/b.png"})
    assert refusal(other) == (422, "idempotency_key_reused")
    with sessions.begin() as session:
        assert session.scalar(select(func.count()).select_from(Task)) == 1


# ---- exactly one


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"image_url": "http://127.0.0.1/", "s3_key": "imports/a"}, "several_images"),
        ({"image_url": ["http://127.0.0.1/a", "http://127.0.0.1/b"]}, "several_images"),
        ({"trim": "true"}, "file_missing"),
        ({"image_url": "", "s3_key": ""}, "file_missing"),
        ({"file": "not a file"}, "file_missing"),
    ],
)
def test_exactly_one_image_is_expected(http: TestClient, fields: dict[str, Any], code: str) -> None:
    for files in (None, {"file": ("", b"")}):  # as a browser sends a file that nobody has chosen
        answer = http.post(URL, data=fields, files=files)
        assert refusal(answer) == (422, code)
        for name in ("'file'", "'s3_key'", "'image_url'"):
            assert name in answer.json()["detail"]


def test_a_file_and_a_url_are_one_too_many(http: TestClient) -> None:
    answer = http.post(URL, data={"image_url": "http://127.0.0.1/"}, files={"file": encoded()})
    assert refusal(answer) == (422, "several_images")


def test_a_file_where_a_name_is_expected_is_no_name(http: TestClient) -> None:
    assert refusal(http.post(URL, files={"image_url": encoded()})) == (422, "file_missing")


def test_an_urlencoded_form_is_bounded_too(http: TestClient) -> None:
    many = "&".join(f"a{number}=x" for number in range(MAX_FIELDS + 1))
    for body in (many, f"image_url={'a' * 70_000}", f"{'a' * 70_000}=x"):
        assert refusal(http.post(URL, headers=FORM, content=body)) == (400, "malformed_body")
    assert refusal(http.post(URL, headers=FORM, content="image_url=%00%ff&&&")) == (422, "invalid_url")
    assert refusal(http.post(URL, headers=FORM, content=b"image_url=\xff\xfe")) == (422, "invalid_url")


# ---- by key


def test_what_was_put_by_a_presigned_address_is_submitted_by_its_key(
    client: TestClient, headers: dict[str, str], sessions: Sessions, user: User, s3_store: S3Store
) -> None:
    picture = encoded(kind="PNG")
    answer = client.post(
        f"{URL}/presign", headers=headers, json={"size_bytes": len(picture), "content_type": "image/png"}
    )
    assert answer.status_code == 201
    signed = answer.json()
    assert set(signed) == {"s3_key", "url", "method", "headers", "expires_at"}
    assert signed["method"] == "PUT"
    assert signed["s3_key"].startswith(f"imports/{user.id}/")
    left = datetime.fromisoformat(signed["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=14) < left <= timedelta(minutes=15)
    assert httpx2.put(signed["url"], content=picture, headers=signed["headers"]).status_code == 200
    taken = client.post(URL, headers=headers, data={"s3_key": signed["s3_key"], "trim": "false"})
    assert taken.status_code == 202
    task = row(sessions, UUID(taken.json()["task_id"]))
    assert (task.upload.format, task.upload.filename, task.options["trim"]) == ("PNG", None, False)
    assert task.upload.key == f"originals/{user.id}/{task.upload_id}"
    assert s3_store.get(task.upload.key) == picture  # a copy: what lies under the key may change from now on


def test_a_month_that_is_over_presigns_nothing(
    client: TestClient, headers: dict[str, str], sessions: Sessions, user: User
) -> None:
    with sessions.begin() as session:
        session.execute(update(User).where(User.id == user.id).values(images_per_month=1))
    asked = {"size_bytes": 10}
    assert client.post(f"{URL}/presign", headers=headers, json=asked).status_code == 201
    assert client.post(URL, headers=headers, files={"file": encoded()}).status_code == 202
    assert refusal(client.post(f"{URL}/presign", headers=headers, json=asked)) == (429, "quota_exceeded")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"size_bytes": 13_107_200}, 413, "file_too_large"),
        ({"size_bytes": 0}, 422, "invalid_request"),
        ({"size_bytes": "many"}, 422, "invalid_request"),
        ({"size_bytes": 10, "content_type": "text/html"}, 422, "invalid_request"),
        ({"size_bytes": 10, "content_type": "image/png\r\nX: y"}, 422, "invalid_request"),
        ({"size_bytes": 10, "key": "originals/x"}, 422, "invalid_request"),
        ({}, 422, "invalid_request"),
    ],
)
def test_only_what_may_be_uploaded_is_presigned(
    client: TestClient, headers: dict[str, str], sent: dict[str, Any], status: int, code: str
) -> None:
    assert refusal(client.post(f"{URL}/presign", headers=headers, json=sent)) == (status, code)


def test_strangers_get_no_address(client: TestClient) -> None:
    assert refusal(client.post(f"{URL}/presign", json={"size_bytes": 10})) == (401, "not_authenticated")


def put(store: MemoryStore, key: str, data: bytes | None = None) -> str:
    store.put(key, io.BytesIO(data or encoded()), "application/octet-stream")
    return key


def test_own_and_shared_keys_are_taken(http: TestClient, kept: MemoryStore, sessions: Sessions, user: User) -> None:
    for key, name in (
        (f"imports/{user.id}/{uuid4()}", None),
        (f"originals/{user.id}/{uuid4()}", None),
        ("shared/of the house/logo.png", "logo.png"),
    ):
        answer = http.post(URL, headers=FORM, content=str(httpx2.QueryParams({"s3_key": put(kept, key)})))
        assert answer.status_code == 202
        assert row(sessions, UUID(answer.json()["task_id"])).upload.filename == name


def test_another_accounts_key_answers_like_one_that_is_not_there(
    http: TestClient, kept: MemoryStore, sessions: Sessions, user: User
) -> None:
    other = make_user(sessions)
    foreign = [put(kept, f"{prefix}/{other.id}/{uuid4()}") for prefix in ("imports", "originals", "processed")]
    more = [f"imports/{user.id}", f"imports/{user.id}x/{uuid4()}", put(kept, f"processed/{user.id}/a/1.png")]
    more += [put(kept, "originals/existing-image.jpg"), put(kept, "sharedx/a.png"), "shared", "x"]
    missing = [f"imports/{user.id}/{uuid4()}", f"originals/{user.id}/{uuid4()}", "shared/nothing"]
    said = set()
    for key in (*foreign, *more, *missing):
        answer = http.post(URL, data={"s3_key": key})
        assert refusal(answer) == (404, "s3_key_not_found"), key
        said.add(answer.json()["detail"])
    assert len(said) == 1


@pytest.mark.parametrize(
    "key",
    [
        *("/imports/{me}/a", "imports/{me}/../{you}/a", "imports/{me}/..", "imports/{me}//a", "imports/{me}/./a"),
        *("imports/{me}/a/", "imports/{me}/", "../originals/{you}/a", "s3://bucket/imports/{me}/a", "\\imports\\{me}"),
        *(
            "imports/{me}/a\x00",
            "imports/{me}/a\nb",
            "imports/{me}/\x7f",
            "imports/{me}/\u202egnp",
            "imports/{me}/\ufeff",
        ),
        *("imports/{me}/" + "a" * 1024, "imports/{me}/" + "é" * 500),
    ],
)
def test_a_key_that_could_lead_elsewhere_is_refused(http: TestClient, user: User, key: str) -> None:
    answer = http.post(URL, data={"s3_key": key.format(me=user.id, you=uuid4())})
    assert refusal(answer) == (422, "invalid_s3_key")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"<svg/>", 415, "unsupported_format"),
        (b"\xff\xd8" + bytes(13_107_198), 413, "file_too_large"),
        (encoded(subject(49, 49)), 422, "dimensions_too_small"),
    ],
    ids=["svg", "12.5MB", "small"],
)
def test_what_lies_under_a_key_is_checked_like_any_upload(
    http: TestClient, kept: MemoryStore, user: User, data: bytes, status: int, code: str
) -> None:
    key = put(kept, f"imports/{user.id}/{uuid4()}", data)
    assert refusal(http.post(URL, data={"s3_key": key})) == (status, code)
    assert set(kept.objects) == {key}


class Growing(MemoryStore):
    """Whose objects are larger when they are read than they were when asked for their size."""

    def size(self, key: str) -> int:
        return min(super().size(key), 1000)


def test_what_grows_after_it_was_measured_is_still_too_large(
    near: Settings, headers: dict[str, str], user: User
) -> None:
    store = Growing()
    key = put(store, f"imports/{user.id}/{uuid4()}", b"\xff\xd8" + bytes(13_107_198))
    with TestClient(create_app(near, store=store), headers=headers) as http:
        assert refusal(http.post(URL, data={"s3_key": key})) == (413, "file_too_large")
    assert set(store.objects) == {key}


def test_the_description_names_the_three_ways(client: TestClient) -> None:
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    content = paths[URL]["post"]["requestBody"]["content"]
    ways = {kind: [way["required"] for way in form["schema"]["oneOf"]] for kind, form in content.items()}
    assert ways == {
        "multipart/form-data": [["file"], ["image_url"], ["s3_key"]],
        "application/x-www-form-urlencoded": [["image_url"], ["s3_key"]],
    }
    assert "post" in paths[f"{URL}/presign"]


def test_each_account_has_its_own_prefix(client: TestClient, settings: Settings, sessions: Sessions) -> None:
    one, two = make_user(sessions), make_user(sessions)
    signed = client.post(f"{URL}/presign", headers=bearer(settings, one.id), json={"size_bytes": 5}).json()
    assert httpx2.put(signed["url"], content=b"12345", headers=signed["headers"]).status_code == 200
    answer = client.post(URL, headers=bearer(settings, two.id), data={"s3_key": signed["s3_key"]})
    assert refusal(answer) == (404, "s3_key_not_found")
    own = client.post(URL, headers=bearer(settings, one.id), data={"s3_key": signed["s3_key"]})
    assert refusal(own) == (415, "unsupported_format")


# ---- as a background


@pytest.mark.parametrize(
    ("background", "status", "code"),
    [
        ("s3:imports/somebody-else/a.png", 404, "s3_key_not_found"),
        ("http://user:password@127.0.0.1/a.png", 422, "invalid_url"),
        ("s3:../a", 422, "invalid_s3_key"),
    ],
)
def test_a_background_that_may_not_be_named_is_refused_at_the_door(
    http: TestClient, kept: MemoryStore, background: str, status: int, code: str
) -> None:
    answer = http.post(URL, files={"file": encoded()}, data={"background": background})
    assert refusal(answer) == (status, code)
    assert kept.objects == {}


def test_an_own_background_is_taken(http: TestClient, sessions: Sessions, user: User) -> None:
    data = {"background": f"s3:imports/{user.id}/a.png", "operation": "replace-background"}
    answer = http.post(URL, files={"file": encoded()}, data=data)
    task = row(sessions, UUID(answer.json()["task_id"]))
    assert (task.operation, task.options["background"]) == ("replace-background", data["background"])
