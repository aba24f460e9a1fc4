"""Routes that wait: the picture itself as the answer, many at once, and flows that are asked for later."""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import func

from app.api import finishing
from app.core.states import TaskStatus
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from app.services.orders import FEW
from tests.api.conftest import bearer
from tests.api.live import cancel
from tests.api.working import working
from tests.conftest import make_settings, make_user
from tests.factories import change, make_task, row
from tests.outbound.sites import ok, saying, site
from tests.pictures import encoded, subject
from tests.services.test_processing import Bench

ONE, MANY, FLOWS = "/api/v1/remove-background", "/api/v1/remove-backgrounds", "/api/v2/remove-backgrounds"
PICTURE = encoded(subject(200, 160))
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
Open = Callable[..., TestClient]


@pytest.fixture
def bench(environment: dict[str, str], sessions: Sessions, tmp_path: Path) -> Bench:
    return Bench(make_settings(environment, outbound_allowed_networks="127.0.0.0/8"), sessions, tmp_path)


@pytest.fixture
def open_api(environment: dict[str, str], bench: Bench, user: User) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_api(**changes: Any) -> TestClient:
            made = make_settings(environment, **{"outbound_allowed_networks": "127.0.0.0/8"} | changes)
            client = TestClient(create_app(made, store=bench.store), headers=bearer(made, user.id))
            return stack.enter_context(client)

        yield open_api


@pytest.fixture
def client(open_api: Open) -> TestClient:
    return open_api()


@pytest.fixture
def worked(bench: Bench) -> Iterator[None]:
    with working(bench):
        yield


def send(client: TestClient, data: bytes = PICTURE, headers: dict[str, str] | None = None, **fields: str) -> Any:
    return client.post(ONE, files={"file": ("cup.jpg", data)}, data=fields, headers=headers)


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def opened(answer: Any) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


@pytest.mark.usefixtures("worked")
def test_a_picture_comes_back_as_a_picture(client: TestClient, bench: Bench, sessions: Sessions) -> None:
    answer = send(client)
    with opened(answer) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGBA")
    assert answer.headers["Content-Type"] == "image/png"
    assert "cup-cutout.png" in answer.headers["Content-Disposition"]
    task = row(sessions, UUID(answer.headers["Content-Location"].rpartition("/")[2]))
    assert answer.content == bench.store.get(str(task.result_key))
    assert int(answer.headers["Content-Length"]) == task.result_bytes


@pytest.mark.usefixtures("worked")
def test_one_that_is_too_large_for_memory(client: TestClient) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (1200, 1200, 3), np.uint8)
    answer = send(client, encoded(Image.fromarray(noise), "PNG"), operation="constant", trim="false", refine="false")
    with opened(answer) as picture:
        assert np.array_equal(np.asarray(picture)[..., :3], noise)
    assert len(answer.content) > 1 << 20


@pytest.mark.usefixtures("worked")
def test_so_many_are_sent_at_a_time(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finishing, "SENDING", BoundedSemaphore(1))
    for _ in range(3):  # one after the other they all get theirs
        assert send(client).status_code == 200
    assert finishing.SENDING.acquire(blocking=False)
    assert refused(send(client)) == (503, "busy")


@pytest.mark.usefixtures("worked")
@pytest.mark.parametrize("name", ["image_url", "digital_asset_url"])
def test_by_its_url_with_options(client: TestClient, name: str) -> None:
    with site(saying(ok(PICTURE))) as near:
        answer = client.post(ONE, json={name: near.url, "format": "webp", "trim": False, "background": "navy"})
    with opened(answer) as picture:
        assert (picture.format, picture.mode, picture.size) == ("WEBP", "RGB", (200, 160))


@pytest.mark.usefixtures("worked")
def test_any_operation_and_any_recipe(client: TestClient) -> None:
    with opened(send(client, operation="mask")) as picture:
        assert (picture.mode, picture.size) == ("L", (200, 160))
    with opened(send(client, recipe="portrait-4-5")) as picture:
        assert (picture.format, round(picture.width / picture.height, 1)) == ("JPEG", 0.8)


@pytest.mark.usefixtures("worked")
def test_why_there_is_none(client: TestClient, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(send(client, PICTURE[:-300])) == (422, "image_truncated")
    with site(saying(NOT_FOUND)) as near:
        assert refused(client.post(ONE, json={"image_url": near.url})) == (422, "url_not_fetched")
    with site(saying(ok(b"GIF89a"))) as near:
        assert refused(client.post(ONE, json={"image_url": near.url})) == (415, "unsupported_format")
    monkeypatch.setattr(bench.engine, "infer", lambda blob: np.full((1024, 1024), 0.1, np.float32))
    assert refused(send(client)) == (422, "unknown_foreground")
    monkeypatch.setattr(bench.engine, "infer", lambda blob: 1 / 0)
    answer = send(client, encoded(subject(210, 160)))
    assert refused(answer) == (503, "internal_error")
    assert answer.headers["Retry-After"]


def test_what_takes_longer_is_followed(open_api: Open, bench: Bench) -> None:
    client = open_api(sync_wait_seconds=0.3)
    answer = send(client)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    bench.process(UUID(answer.json()["task_id"]))
    done = client.get(answer.headers["Location"]).json()
    assert (done["task_id"], done["status"]) == (answer.json()["task_id"], "completed")


def test_without_a_wait_it_is_an_upload_like_any_other(open_api: Open) -> None:
    assert send(open_api(sync_wait_seconds=0)).status_code == 202


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"status": TaskStatus.CANCELLED}, (409, "task_cancelled")),
        ({"status": TaskStatus.EXPIRED}, (410, "task_expired")),
        ({"status": TaskStatus.FAILED, "error_code": "worker_lost", "error_message": "x"}, (503, "worker_lost")),
    ],
)
def test_what_ends_otherwise_meanwhile(
    open_api: Open, sessions: Sessions, columns: dict[str, Any], expected: tuple[int, str]
) -> None:
    headers = {"Idempotency-Key": "k"}
    task_id = UUID(send(open_api(sync_wait_seconds=0), headers=headers).json()["task_id"])
    if columns["status"] == TaskStatus.EXPIRED:  # a task has to end first
        cancel(sessions, task_id)
    change(sessions, task_id, finished_at=func.now(), **columns)
    assert refused(send(open_api(), headers=headers)) == expected


@pytest.mark.usefixtures("worked")
def test_sent_again_under_its_key_it_is_the_same_picture(client: TestClient, bench: Bench) -> None:
    first, second = (send(client, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.content == second.content
    assert first.headers["Content-Location"] == second.headers["Content-Location"]
    assert len(bench.results()) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "file_missing"),
        ({"image_url": None}, "file_missing"),
        ({"image_url": 7}, "invalid_url"),
        ({"image_url": "ftp://example.com/a.png"}, "invalid_url"),
        (
            {"image_url": "https://example.com/a.png", "digital_asset_url": "https://example.com/a.png"},
            "several_images",
        ),
        ({"image_url": "https://example.com/a.png", "format": "gif"}, "invalid_option"),
        ({"image_url": "https://example.com/a.png", "trim": "yes"}, "invalid_request"),
        ({"image_url": "https://example.com/a.png", "colour": "red"}, "invalid_option"),
        ({"image_url": "https://example.com/a.png", "priority": "first"}, "invalid_option"),
        ({"image_url": "https://example.com/a.png", "webhook_url": "nowhere"}, "invalid_url"),
        ([], "invalid_request"),
    ],
)
def test_what_is_wrong_with_the_request(client: TestClient, body: Any, code: str) -> None:
    assert refused(client.post(ONE, json=body)) == (422, code)


def test_bodies_of_other_kinds(client: TestClient) -> None:
    assert refused(client.post(ONE, content=b"{", headers={"Content-Type": "application/json"})) == (
        400,
        "malformed_body",
    )
    assert refused(client.post(ONE, content=PICTURE, headers={"Content-Type": "image/jpeg"})) == (
        415,
        "unsupported_media_type",
    )
    assert refused(client.post(ONE, content=b"{}", headers={"Content-Type": "application/jsonx"})) == (
        415,
        "unsupported_media_type",
    )
    assert refused(client.post(MANY, data={"image_urls": "https://example.com/"})) == (415, "unsupported_media_type")


# ---- many


@pytest.mark.usefixtures("worked")
@pytest.mark.parametrize("name", ["image_urls", "digital_asset_urls"])
def test_many_at_once_each_with_what_became_of_it(client: TestClient, name: str) -> None:
    with site(saying(ok(PICTURE))) as good, site(saying(NOT_FOUND)) as bad:
        urls = [good.url, "nowhere", bad.url]
        answer = client.post(MANY, json={name: urls, "size": "preview"})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [each["image_url"] for each in told["results"]] == urls
    assert [each["status"] for each in told["results"]] == ["completed", "refused", "failed"]
    assert [each["error_code"] for each in told["results"]] == [None, "invalid_url", "url_not_fetched"]
    assert told["results"][0]["presigned_url"]
    assert (told["status"], told["image_count"], told["digital_asset_count"]) == ("finished", 3, 3)
    assert (told["succeeded"], told["failed"]) == (1, 2)
    batch = client.get(answer.headers["Location"]).json()
    assert (batch["batch_id"], batch["total"]) == (told["batch_id"], 2)


def test_many_past_the_wait(open_api: Open) -> None:
    answer = open_api(sync_wait_seconds=0.2).post(MANY, json={"image_urls": ["https://example.com/a.png"] * 2})
    told = answer.json()
    assert (answer.status_code, told["status"], told["succeeded"], told["failed"]) == (202, "processing", 0, 0)
    assert {each["status"] for each in told["results"]} == {"queued"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"image_urls": []}, "invalid_url"),
        ({"image_urls": "https://example.com/a.png"}, "invalid_url"),
        ({"image_urls": ["https://example.com/a.png", 3]}, "invalid_url"),
        ({"image_urls": ["nowhere"]}, "batch_empty"),
        ({"image_urls": ["https://example.com/a.png"] * 4}, "too_many_files"),
        ({}, "file_missing"),
        ({"image_urls": ["https://example.com/a.png"], "digital_asset_urls": []}, "several_images"),
    ],
)
@pytest.mark.parametrize("url", [MANY, FLOWS])
def test_what_is_wrong_with_a_list(open_api: Open, url: str, body: Any, code: str) -> None:
    assert refused(open_api(max_batch_files=3).post(url, json=body)) == (422, code)


def test_what_was_deleted_shifts_nothing(open_api: Open) -> None:
    client = open_api(sync_wait_seconds=0)
    body = {"image_urls": ["https://example.com/1.png", "nowhere", "https://example.com/2.png"]}
    first = client.post(MANY, json=body, headers={"Idempotency-Key": "k"}).json()
    assert client.delete(f"/api/v1/tasks/{first['results'][0]['task_id']}").status_code == 204
    again = client.post(MANY, json=body, headers={"Idempotency-Key": "k"}).json()
    assert [each["error_code"] for each in again["results"]] == ["task_deleted", "invalid_url", None]


def test_so_many_are_no_batch_yet(open_api: Open, sessions: Sessions) -> None:
    client = open_api(sync_wait_seconds=0, max_batch_files=20)
    for number, queue in ((FEW, "interactive"), (FEW + 1, "bulk")):
        body = {"image_urls": [f"https://example.com/{n}.png" for n in range(number)]}
        told = client.post(MANY, json=body).json()
        assert {row(sessions, UUID(each["task_id"])).queue for each in told["results"]} == {queue}


# ---- flows


def test_flows_are_started_and_asked_for(client: TestClient, bench: Bench, sessions: Sessions) -> None:
    with site(saying(ok(PICTURE))) as good, site(saying(NOT_FOUND)) as bad:
        answer = client.post(FLOWS, json={"image_urls": [good.url, "nowhere", bad.url, good.url]})
        started = answer.json()
        assert answer.status_code == 200
        assert (started["status"], started["message"]) == ("RUNNING", "Started processing 3 images")
        assert (started["image_count"], started["digital_asset_count"], len(started["flow_ids"])) == (3, 3, 3)
        assert [each["image_url"] for each in started["refused"]] == ["nowhere"]
        flow_ids = started["flow_ids"]
        for flow_id in flow_ids[:2]:
            bench.process(UUID(flow_id))
    told = client.post(f"{FLOWS}/results", json={"flow_ids": flow_ids}).json()
    assert told["status"] == "RUNNING"
    assert [each["flow_id"] for each in told["results"]] == flow_ids
    assert [each["status"] for each in told["results"]] == ["COMPLETED", "FAILED", "PENDING"]
    assert [bool(each["presigned_url"]) for each in told["results"]] == [True, False, False]
    assert told["results"][1]["error_code"] == "url_not_fetched"
    cancel(sessions, UUID(flow_ids[2]))
    bare = client.post(f"{FLOWS}/results", json=flow_ids).json()
    assert (bare["status"], bare["results"][2]["status"]) == ("COMPLETED", "CANCELLED")


def test_flows_of_others_are_not_there(client: TestClient, sessions: Sessions, user: User) -> None:
    own, others = make_task(sessions, user.id), make_task(sessions, make_user(sessions).id)
    told = client.post(f"{FLOWS}/results", json=[str(own), str(others), str(uuid4())]).json()
    assert [each["status"] for each in told["results"]] == ["PENDING", "NOT_FOUND", "NOT_FOUND"]
    assert {each["error_code"] for each in told["results"][1:]} == {"task_not_found"}


@pytest.mark.parametrize("body", [[], {}, {"flow_ids": []}, {"flow_ids": "x"}, ["x"], [str(uuid4())] * 1001, "x"])
def test_what_is_wrong_with_flow_ids(client: TestClient, body: Any) -> None:
    assert refused(client.post(f"{FLOWS}/results", json=body)) == (422, "invalid_request")


# ---- priority


def test_who_comes_first_is_the_accounts_choice(client: TestClient, open_api: Open, sessions: Sessions) -> None:
    later = open_api(sync_wait_seconds=0)
    made = send(later, priority="bulk").json()["task_id"]
    assert row(sessions, UUID(made)).queue == "bulk"
    listed = {"image_urls": ["https://example.com/a.png"]}
    queues = [
        row(sessions, UUID(client.post(FLOWS, json=listed | wish).json()["flow_ids"][0])).queue
        for wish in ({}, {"priority": "interactive"})
    ]
    assert queues == ["bulk", "interactive"]
