"""`POST /process`: images through a pipeline, in one request."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.core.states import TaskStatus
from app.db.base import Sessions
from app.db.models import Batch, Task, User
from app.main import create_app
from app.services.accounts import GUESTS
from tests.api.conftest import bearer
from tests.api.working import working
from tests.conftest import make_settings
from tests.e2e.foreign import pictures
from tests.services.test_processing import Bench

URL = "/process"
Open = Callable[..., TestClient]
LOOPBACK = {"outbound_allowed_networks": "127.0.0.0/8"}


@pytest.fixture
def bench(environment: dict[str, str], sessions: Sessions, tmp_path: Path) -> Bench:
    return Bench(make_settings(environment, **LOOPBACK), sessions, tmp_path)


@pytest.fixture
def open_api(environment: dict[str, str], bench: Bench, user: User) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_api(**changes: Any) -> TestClient:
            made = make_settings(environment, **LOOPBACK | changes)
            client = TestClient(create_app(made, store=bench.store), headers=bearer(made, user.id))
            return stack.enter_context(client)

        yield open_api


def asked(*urls: str, pipeline: str = "random", **members: Any) -> dict[str, Any]:
    images = [{"id": f"image {number}", "url": url} for number, url in enumerate(urls)]
    return {"pipeline": pipeline, "source_images": images} | members


def refused(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("pipeline", ["random", "constant", "remove-background", "mask"])
def test_it_waits_and_tells_of_each_image(open_api: Open, bench: Bench, pipeline: str) -> None:
    client = open_api()
    with pictures() as there, working(bench):
        urls = there.url, f"http://127.0.0.1:{there.port}/missing.png", "ftp://example.com/", there.url
        answer = client.post(URL, json=asked(*urls, pipeline=pipeline, config={"format": "webp", "trim": False}))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["pipeline"], list(told["algorithms"])) == (pipeline, [pipeline])
    assert [image["url"] for image in told["source_images"]] == list(urls)
    assert [each["source_image_id"] for each in told["detections"]] == ["image 0", "image 3"]
    for each in told["detections"]:
        box = each["bbox"]
        assert 0 <= box["x1"] < box["x2"] <= 200
        assert 0 <= box["y1"] < box["y2"] <= 160
        assert each["inference_time"] > 0
        assert each["timestamp"].endswith("Z")
        assert ".webp?" in each["crop_image_url"]
        assert each["algorithm"]["key"] == pipeline
    assert sorted((each["source_image_id"], each["code"]) for each in told["errors"]) == [
        ("image 1", "url_not_fetched"),
        ("image 2", "invalid_url"),
    ]
    assert told["total_time"] > 0


def test_past_the_limit_it_tells_where_the_rest_will_be(open_api: Open, sessions: Sessions) -> None:
    client = open_api(sync_wait_seconds=0)
    answer = client.post(URL, json=asked("https://example.com/a.jpg", "nonsense"))
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert answer.headers["location"] == f"/api/v1/batches/{told['batch_id']}"
    assert (told["detections"], [each["source_image_id"] for each in told["errors"]]) == ([], ["image 1"])
    assert client.get(answer.headers["location"]).json()["counts"] == {"queued": 1}
    with sessions.begin() as session:
        (task,) = session.scalars(select(Task)).all()
    assert (task.status, task.operation, task.queue) == (TaskStatus.QUEUED, "random", "interactive")


def test_the_same_request_again_is_the_same_batch(open_api: Open, sessions: Sessions) -> None:
    client = open_api(sync_wait_seconds=0)
    first, again = (
        client.post(URL, json=asked("https://example.com/"), headers={"Idempotency-Key": "once"}) for _ in range(2)
    )
    assert first.json()["batch_id"] == again.json()["batch_id"]
    assert again.headers["idempotency-replayed"] == "true"
    with sessions.begin() as session:
        assert [str(batch_id) for batch_id in session.scalars(select(Batch.id))] == [first.json()["batch_id"]]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (asked("https://example.com/", pipeline="nonsense"), 422, "unknown_pipeline"),
        (asked("https://example.com/", "https://example.com/", "https://example.com/"), 422, "too_many_files"),
        (asked("https://example.com/", config={"format": "gif"}), 422, "invalid_option"),
        (asked("https://example.com/", config={"colour": "red"}), 422, "invalid_option"),
        (asked("https://example.com/", config={"operation": "mask"}), 422, "invalid_option"),
        (asked("https://example.com/", config={"recipe": "none-such"}), 404, "recipe_not_found"),
        (asked("https://example.com/", config={"priority": "first"}), 422, "invalid_option"),
        (asked("ftp://example.com/"), 422, "batch_empty"),
        (asked(), 422, "invalid_request"),
        (asked("https://example.com/\x00"), 422, "invalid_request"),
        ([], 422, "invalid_request"),
    ],
)
def test_what_makes_no_sense_is_refused(
    open_api: Open, sessions: Sessions, body: object, status: int, code: str
) -> None:
    answer = open_api(max_batch_files=2).post(URL, json=body)
    assert refused(answer) == (status, code)
    assert answer.json()["detail"]
    with sessions.begin() as session:
        assert session.scalars(select(Batch)).all() == []


def test_what_is_no_json_or_too_much_of_it_is_refused(open_api: Open) -> None:
    client = open_api()
    kind = {"Content-Type": "application/json"}
    assert refused(client.post(URL, content=b"{", headers=kind)) == (400, "malformed_body")
    assert refused(client.post(URL, data={"pipeline": "random"})) == (415, "unsupported_media_type")
    assert refused(client.post(URL, content=b" " * 5_000_000, headers=kind)) == (413, "body_too_large")


def test_a_thousand_long_urls_are_not_too_much(open_api: Open) -> None:
    client = open_api(sync_wait_seconds=0)
    urls = ["https://example.com/".ljust(2048, "a")] * 1000
    answer = client.post(URL, json=asked(*urls))
    assert (answer.status_code, len(answer.json()["source_images"])) == (202, 1000)


def test_open_doors_let_strangers_in(open_api: Open, sessions: Sessions) -> None:
    for doors, status in ((False, 401), (True, 202)):
        client = open_api(sync_wait_seconds=0, open_doors=doors)
        del client.headers["Authorization"]
        assert client.post(URL, json=asked("https://example.com/")).status_code == status
    with sessions.begin() as session:
        guest = session.scalars(select(User).where(User.email == GUESTS)).one()
        assert session.scalars(select(Batch.user_id)).all() == [guest.id]


def test_one_who_is_deleted_meanwhile_ends_the_wait(open_api: Open, bench: Bench) -> None:
    client = open_api(sync_wait_seconds=0)
    told = client.post(URL, json=asked("https://example.com/"), headers={"Idempotency-Key": "once"}).json()
    items = client.get(f"/api/v1/batches/{told['batch_id']}").json()["items"]
    task_id = UUID(items[0]["task_id"])
    assert client.post(f"/api/v1/tasks/{task_id}/cancel").status_code == 200
    assert client.delete(f"/api/v1/tasks/{task_id}").status_code == 204
    waiting = open_api()
    answer = waiting.post(URL, json=asked("https://example.com/"), headers={"Idempotency-Key": "once"})
    assert (answer.status_code, [each["code"] for each in answer.json()["errors"]]) == (200, ["task_expired"])
