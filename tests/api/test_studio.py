"""The studio's job routes: tasks by the words of another program."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func

from app.api.middleware import BATCHES
from app.core.config import DAY, Settings
from app.core.states import TaskStatus
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from tests.api.accounts import promote
from tests.api.conftest import bearer
from tests.api.working import working
from tests.conftest import make_settings, make_user
from tests.doors.people import STATUSES
from tests.embedded_services import wait_for
from tests.factories import ago, change, make_task, row
from tests.pictures import encoded, subject
from tests.services.test_processing import Bench

ONE, MANY = "/api/jobs/remove-bg", "/api/jobs/remove-bg-batch"
PICTURE = encoded(subject(200, 160))
Open = Callable[..., TestClient]


@pytest.fixture
def bench(settings: Settings, sessions: Sessions, tmp_path: Path) -> Bench:
    return Bench(settings, sessions, tmp_path)


@pytest.fixture
def open_api(environment: dict[str, str], bench: Bench, user: User) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_api(**changes: Any) -> TestClient:
            made = make_settings(environment, **changes)
            client = TestClient(create_app(made, store=bench.store), headers=bearer(made, user.id))
            return stack.enter_context(client)

        yield open_api


@pytest.fixture
def client(open_api: Open) -> TestClient:
    return open_api()


def send(client: TestClient, data: bytes = PICTURE, key: str | None = None, **fields: str) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(ONE, files={"file": ("cup.jpg", data)}, data=fields, headers=headers)


def send_all(client: TestClient, *files: tuple[str, bytes], key: str | None = None, **fields: str) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(MANY, files=[("files", file) for file in files], data=fields, headers=headers)


def job(client: TestClient, job_id: UUID | str) -> dict[str, Any]:
    answer = client.get(f"/api/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_as_a_page_of_the_studio_does_it(client: TestClient, bench: Bench, sessions: Sessions, user: User) -> None:
    sent = send(client, trim="false")
    assert sent.status_code == 202, sent.text
    job_id = sent.json()["job_id"]
    assert sent.json() == {"job_id": job_id, "status": "queued"}
    assert sent.headers["Location"] == f"/api/jobs/{job_id}"
    waiting = {"job_id": job_id, "status": "queued", "progress": 0, "stage": None, "error": None, "download_url": None}
    assert job(client, job_id) == waiting
    with working(bench):
        wait_for(lambda: job(client, job_id)["status"] == "finished", "the job is finished")
    url = f"/api/jobs/{job_id}/download"
    assert job(client, job_id) == waiting | {"status": "finished", "progress": 100, "download_url": url}
    picture = client.get(url)
    task = row(sessions, UUID(job_id))
    assert picture.content == bench.store.get(str(task.result_key))
    assert picture.headers["Content-Type"] == "image/png"
    assert "cup-cutout.png" in picture.headers["Content-Disposition"]
    assert (task.user_id, task.queue, task.options["trim"]) == (user.id, "interactive", False)


@pytest.mark.parametrize(
    ("status", "word", "error"),
    [
        (TaskStatus.QUEUED, "queued", None),
        (TaskStatus.PROCESSING, "started", None),
        (TaskStatus.RETRYING, "queued", None),
        (TaskStatus.COMPLETED, "finished", None),
        (TaskStatus.FAILED, "failed", "It is damaged."),
        (TaskStatus.CANCELLED, "canceled", None),
        (TaskStatus.EXPIRED, "failed", "The result was kept for its time and is no longer stored."),
    ],
)
def test_the_words_of_the_studio(
    client: TestClient, sessions: Sessions, user: User, status: TaskStatus, word: str, error: str | None
) -> None:
    columns = {"error_message": "It is damaged."} if status in {TaskStatus.FAILED, TaskStatus.RETRYING} else {}
    job_id = make_task(sessions, user.id, status=status, **STATUSES[status] | columns)
    told = job(client, job_id)
    assert (told["status"], told["error"]) == (word, error)
    assert (told["download_url"] is not None) == (word == "finished")


def test_a_failure_without_a_sentence_has_one(client: TestClient, sessions: Sessions, user: User) -> None:
    job_id = make_task(sessions, user.id, status=TaskStatus.FAILED, **STATUSES[TaskStatus.FAILED])
    assert job(client, job_id)["error"] == "The image could not be processed."


def test_what_is_wrong_with_the_picture_is_told_at_once(client: TestClient) -> None:
    assert refused(send(client, encoded(kind="GIF"))) == (415, "unsupported_format")
    assert refused(send(client, colour="red")) == (422, "invalid_option")
    assert refused(client.post(ONE, data={"trim": "false"})) == (422, "file_missing")
    assert refused(client.get(f"/api/jobs/{uuid4()}")) == (404, "task_not_found")


def test_an_upload_is_no_job(client: TestClient) -> None:
    for path in (ONE, MANY):
        answer = client.get(path)
        assert (*refused(answer), answer.headers["Allow"]) == (405, "method_not_allowed", "POST")
    assert refused(client.get("/api/jobs/nonsense")) == (404, "not_found")


def test_a_batch_with_a_bad_one(client: TestClient, bench: Bench, sessions: Sessions) -> None:
    sent = send_all(client, ("a.jpg", PICTURE), ("b.txt", b"text"), ("c.jpg", PICTURE + b"x"), format="webp")
    assert sent.status_code == 202, sent.text
    told = sent.json()
    assert (len(told["job_ids"]), told["status"]) == (2, "queued")
    assert [(each["name"], each["code"]) for each in told["refused"]] == [("b.txt", "unsupported_format")]
    assert all(each["detail"] for each in told["refused"])
    tasks = [row(sessions, UUID(job_id)) for job_id in told["job_ids"]]
    assert [(task.name, task.queue, task.options["format"]) for task in tasks] == [
        ("a.jpg", "bulk", "webp"),
        ("c.jpg", "bulk", "webp"),
    ]
    assert client.get(sent.headers["Location"]).json()["batch_id"] == str(tasks[0].batch_id)
    for task in tasks:
        bench.process(task.id)
        assert client.get(job(client, task.id)["download_url"]).headers["Content-Type"] == "image/webp"


def test_a_batch_without_a_good_one(client: TestClient) -> None:
    answer = send_all(client, ("a.txt", b"text"), ("b.gif", encoded(kind="GIF")))
    assert refused(answer) == (422, "batch_empty")
    assert refused(client.post(MANY, data={"trim": "false"})) == (422, "file_missing")
    wrong = client.post(MANY, files=[("file", ("a.jpg", PICTURE))])
    assert refused(wrong) == (422, "file_missing")
    assert "'files'" in wrong.json()["detail"]


def test_the_same_request_again_is_the_same_job(client: TestClient) -> None:
    first, again = (send(client, key="k") for _ in range(2))
    assert (first.json(), again.headers["Idempotency-Replayed"]) == (again.json(), "true")
    assert again.headers["Location"] == first.headers["Location"]
    first, again = (send_all(client, ("a.jpg", PICTURE), ("b.txt", b"text"), key="k") for _ in range(2))
    assert (first.json(), again.headers["Idempotency-Replayed"]) == (again.json(), "true")


def test_a_batch_may_be_larger_than_a_picture(open_api: Open) -> None:
    client = open_api(max_image_bytes=100_000)
    large = PICTURE + bytes(2_000_000)
    assert refused(send(client, large)) == (413, "body_too_large")
    answer = send_all(client, ("a.jpg", large), ("b.jpg", PICTURE))
    assert (answer.status_code, answer.json()["refused"][0]["code"]) == (202, "file_too_large")
    assert refused(send_all(open_api(max_batch_bytes=1 << 20), ("a.jpg", large))) == (413, "body_too_large")


def test_what_brings_many_files_may_take_longer(client: TestClient) -> None:
    api = client.app
    assert isinstance(api, FastAPI)
    forms = {
        path: item["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
        for path, item in api.openapi()["paths"].items()
        if "multipart/form-data" in item.get("post", {}).get("requestBody", {}).get("content", {})
    }
    lists = {
        path
        for path, fields in forms.items()
        if any(field.get("items", {}).get("format") == "binary" for field in fields.values())
    }
    assert lists == BATCHES


def test_a_job_that_is_ended(client: TestClient, bench: Bench, user: User) -> None:
    job_id = send(client).json()["job_id"]
    assert refused(client.get(f"/api/jobs/{job_id}/download")) == (409, "task_not_completed")
    ended = client.post(f"/api/jobs/{job_id}/cancel")
    assert (ended.status_code, ended.json()) == (200, job(client, job_id))
    assert (ended.json()["status"], ended.json()["error"]) == ("canceled", None)
    done = bench.task(user)
    bench.process(done)
    assert refused(client.post(f"/api/jobs/{done}/cancel")) == (409, "task_over")
    assert job(client, done)["status"] == "finished"


def test_the_failed_jobs_are_the_callers_own(client: TestClient, sessions: Sessions, user: User) -> None:
    assert client.get("/api/failed-jobs").json() == {"jobs": []}
    failed: dict[str, Any] = {"status": TaskStatus.FAILED, "finished_at": func.now(), "error_code": "image_corrupt"}
    failed["error_message"] = "It is damaged."
    made = [make_task(sessions, user.id, age=age, **failed) for age in range(101)]
    make_task(sessions, user.id)
    make_task(sessions, make_user(sessions).id, **failed)
    told = client.get("/api/failed-jobs").json()["jobs"]
    assert [each["job_id"] for each in told] == [str(job_id) for job_id in made[:100]]
    assert told[0] == job(client, made[0])
    assert (told[0]["status"], told[0]["error"]) == ("failed", "It is damaged.")


def test_only_administrators_clean_up(client: TestClient, bench: Bench, sessions: Sessions, user: User) -> None:
    kept, old = bench.task(user), bench.task(user)
    for job_id in (kept, old):
        bench.process(job_id)
    change(sessions, old, started_at=ago(8 * DAY), finished_at=ago(8 * DAY))
    result, before = row(sessions, old).result_key, set(bench.store.objects)
    assert refused(client.post("/api/admin/cleanup")) == (403, "forbidden")
    assert set(bench.store.objects) == before
    promote(sessions, user.id)
    answer = client.post("/api/admin/cleanup")
    gone = before - set(bench.store.objects)
    assert (answer.status_code, answer.json()) == (200, {"deleted": len(gone)})
    assert result in gone
    assert job(client, old)["status"] == "failed"
    assert refused(client.get(f"/api/jobs/{old}/download")) == (410, "task_expired")
    assert client.get(f"/api/jobs/{kept}/download").status_code == 200
    assert client.post("/api/admin/cleanup").json() == {"deleted": 0}


def test_the_metrics_are_the_services(open_api: Open, sessions: Sessions, user: User) -> None:
    client = open_api(metrics_open=False)
    assert refused(client.get("/api/metrics")) == (403, "insufficient_scope")
    promote(sessions, user.id)
    answers = [client.get(path) for path in ("/metrics", "/api/metrics")]
    assert answers[0].headers["Content-Type"] == answers[1].headers["Content-Type"]
    families = [{each.name for each in text_string_to_metric_families(answer.text)} for answer in answers]
    assert families[0] == families[1] != set()
