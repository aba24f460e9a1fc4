"""An owner cancels, runs again and deletes; nobody else can."""

import io
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, select, update

from app.core.config import Settings
from app.core.options import ResultFormat
from app.core.states import TaskStatus, UploadStatus
from app.db import retention, tasks
from app.db.base import Sessions
from app.db.models import Task, Upload, User
from app.db.tasks import Result
from app.main import create_app
from app.services.backlog import Backlog
from app.services.retention import Cleaned, Retention
from app.storage.base import result_key
from app.storage.memory import MemoryStore
from tests.api.conftest import bearer
from tests.conftest import make_settings, make_user
from tests.factories import ago, change, claim, make_task, row
from tests.pictures import encoded, subject

URL = "/api/v1/tasks"
DAY = 86_400


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def owner(settings: Settings, user: User, store: MemoryStore) -> Iterator[TestClient]:
    with TestClient(create_app(settings, store=store), headers=bearer(settings, user.id)) as client:
        yield client


def failed(sessions: Sessions, user: User, code: str = "oom") -> UUID:
    held = claim(sessions, make_task(sessions, user.id))
    assert held
    with sessions.begin() as session:
        assert tasks.fail(session, held, code=code, message="It went wrong.")
    return held.task_id


def completed(sessions: Sessions, user: User, store: MemoryStore) -> UUID:
    """With its two objects."""
    held = claim(sessions, make_task(sessions, user.id))
    assert held
    key = result_key(user.id, held.task_id, 1, ResultFormat.PNG)
    for stored in (key, row(sessions, held.task_id).upload.key):
        store.put(stored, io.BytesIO(b"png"), "image/png")
    with sessions.begin() as session:
        assert tasks.complete(session, held, Result(key, 3, 2, 1, 0.9))
    return held.task_id


@pytest.mark.parametrize("begun", [False, True])
def test_a_task_that_is_not_over_is_cancelled(owner: TestClient, sessions: Sessions, user: User, begun: bool) -> None:
    task_id = make_task(sessions, user.id)
    held = claim(sessions, task_id) if begun else None
    answer = owner.post(f"{URL}/{task_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert owner.post(f"{URL}/{task_id}/cancel").status_code == 200
    if held:
        with sessions.begin() as session:
            assert not tasks.complete(session, held, Result("k", 1, 1, 1, 0.5))
    assert row(sessions, task_id).status == TaskStatus.CANCELLED


def test_what_is_over_cannot_be_cancelled(
    owner: TestClient, sessions: Sessions, user: User, store: MemoryStore
) -> None:
    answer = owner.post(f"{URL}/{completed(sessions, user, store)}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "task_over")
    assert answer.json()["detail"] == "The task is over: its status is completed."


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_failed_or_cancelled_task_runs_again(owner: TestClient, sessions: Sessions, user: User, end: str) -> None:
    task_id = failed(sessions, user) if end == "failed" else make_task(sessions, user.id)
    if end == "cancelled":
        owner.post(f"{URL}/{task_id}/cancel")
    answer = owner.post(f"{URL}/{task_id}/retry")
    body = answer.json()
    assert (answer.status_code, body["status"], body["retries"], body["error_code"]) == (202, "queued", 0, None)
    held = claim(sessions, task_id)
    assert held
    assert held.attempt == (2 if end == "failed" else 1)  # attempts go on counting: they fence


def test_a_completed_task_does_not_run_again(
    owner: TestClient, sessions: Sessions, user: User, store: MemoryStore
) -> None:
    answer = owner.post(f"{URL}/{completed(sessions, user, store)}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "task_not_retryable")


def test_a_task_without_its_original_does_not_run_again(owner: TestClient, sessions: Sessions, user: User) -> None:
    task_id = failed(sessions, user)
    with sessions.begin() as session:
        session.execute(update(Upload).values(status=UploadStatus.EXPIRED))
    answer = owner.post(f"{URL}/{task_id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "original_missing")
    assert row(sessions, task_id).status == TaskStatus.FAILED


def test_a_deleted_task_is_gone_with_its_objects(
    owner: TestClient, sessions: Sessions, user: User, store: MemoryStore
) -> None:
    task_id = completed(sessions, user, store)
    assert owner.delete(f"{URL}/{task_id}").status_code == 204
    assert store.objects == {}
    for answer in (
        owner.get(f"{URL}/{task_id}"),
        owner.delete(f"{URL}/{task_id}"),
        owner.post(f"{URL}/{task_id}/retry"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")
    assert owner.get(URL).json()["tasks"] == []


def test_nothing_is_left_of_a_deleted_task_after_a_while(
    owner: TestClient, settings: Settings, sessions: Sessions, user: User, store: MemoryStore
) -> None:
    task_id = completed(sessions, user, store)
    owner.delete(f"{URL}/{task_id}")
    retention = Retention(settings, sessions, store)
    retention.clean()
    # An attempt that was fenced may still be about to store its result.
    late = result_key(user.id, task_id, 1, ResultFormat.PNG)
    store.put(late, io.BytesIO(b"late"), "image/png")
    change(sessions, task_id, started_at=ago(DAY))
    retention.clean()
    assert store.objects == {}
    with sessions.begin() as session:
        assert session.scalars(select(Task)).all() == []
        assert session.scalars(select(Upload)).all() == []
    assert retention.clean() == Cleaned(0, 0, 0, 0)


def test_an_original_that_another_task_uses_outlives_a_deleted_one(
    owner: TestClient, sessions: Sessions, user: User, store: MemoryStore
) -> None:
    task_id = completed(sessions, user, store)
    upload = row(sessions, task_id).upload
    other = make_task(sessions, user.id, upload_id=upload.id)
    owner.delete(f"{URL}/{task_id}")
    assert list(store.objects) == [upload.key]
    owner.delete(f"{URL}/{other}")
    assert store.objects == {}


def test_a_running_task_can_be_deleted(owner: TestClient, sessions: Sessions, user: User) -> None:
    held = claim(sessions, make_task(sessions, user.id))
    assert held
    assert owner.delete(f"{URL}/{held.task_id}").status_code == 204
    with sessions.begin() as session:
        assert not tasks.complete(session, held, Result("k", 1, 1, 1, 0.5))


def test_anothers_task_is_not_there(settings: Settings, sessions: Sessions, user: User, owner: TestClient) -> None:
    task_id = make_task(sessions, make_user(sessions).id)
    answers = [
        owner.request(method, f"{URL}/{wanted}{path}").json()
        for wanted in (task_id, uuid4())
        for method, path in (("POST", "/cancel"), ("POST", "/retry"), ("DELETE", ""), ("GET", "/history"))
    ]
    assert {(answer["status"], answer["code"], answer["detail"]) for answer in answers} == {
        (404, "task_not_found", "There is no such task.")
    }
    assert row(sessions, task_id).status == TaskStatus.QUEUED


def test_the_history_is_told(owner: TestClient, sessions: Sessions, user: User) -> None:
    task_id = failed(sessions, user, "original_missing")
    events = owner.get(f"{URL}/{task_id}/history").json()["events"]
    assert [(event["status"], event["attempt"], event["error_code"]) for event in events] == [
        ("queued", 0, None),
        ("processing", 1, None),
        ("failed", 1, "original_missing"),
    ]


def test_an_expired_result_is_gone(owner: TestClient, sessions: Sessions, user: User, store: MemoryStore) -> None:
    task_id = completed(sessions, user, store)
    change(sessions, task_id, status=TaskStatus.EXPIRED, result_key=None)
    answer = owner.get(f"{URL}/{task_id}/result")
    assert (answer.status_code, answer.json()["code"]) == (410, "task_expired")


# ---- administrators


@pytest.fixture
def administrator(settings: Settings, sessions: Sessions, store: MemoryStore) -> Iterator[TestClient]:
    with TestClient(create_app(settings, store=store)) as client:
        chief = make_user(sessions)
        with sessions.begin() as session:
            session.execute(update(User).where(User.id == chief.id).values(role="admin"))
        client.headers.update(bearer(settings, chief.id))
        yield client


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "failed-tasks"), ("POST", "failed-tasks/requeue"), ("POST", "cleanup"), ("GET", "stats")],
)
def test_only_administrators_administrate(owner: TestClient, method: str, path: str) -> None:
    answer = owner.request(
        method, f"/api/v1/admin/{path}", json={"task_ids": [str(uuid4())]} if "requeue" in path else {}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_failed_tasks_page_by_page(administrator: TestClient, sessions: Sessions, user: User) -> None:
    ids = [str(failed(sessions, user, code)) for code in ("oom", "timeout", "oom")]
    url = "/api/v1/admin/failed-tasks"
    first = administrator.get(url, params={"limit": 2}).json()
    second = administrator.get(url, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [task["task_id"] for task in first["tasks"] + second["tasks"]] == ids[::-1]
    assert second["next_cursor"] is None
    only = administrator.get(url, params={"error_code": "timeout"}).json()["tasks"]
    assert [(task["task_id"], task["error_code"], task["user_id"]) for task in only] == [
        (ids[1], "timeout", str(user.id))
    ]


def test_failed_tasks_are_requeued(
    administrator: TestClient, sessions: Sessions, user: User, store: MemoryStore
) -> None:
    good, over = failed(sessions, user), completed(sessions, user, store)
    unknown = uuid4()
    body = {"task_ids": [str(good), str(over), str(unknown)]}
    answer = administrator.post("/api/v1/admin/failed-tasks/requeue", json=body).json()
    assert answer == {"requeued": [str(good)], "refused": [str(over), str(unknown)]}
    assert row(sessions, good).status == TaskStatus.QUEUED


def test_a_cleanup_can_be_tried_first(
    administrator: TestClient, sessions: Sessions, user: User, store: MemoryStore
) -> None:
    task_id = completed(sessions, user, store)
    change(sessions, task_id, started_at=ago(8 * DAY), finished_at=ago(8 * DAY))
    url = "/api/v1/admin/cleanup"
    tried = administrator.post(url, json={"dry_run": True}).json()
    assert tried["expired"] == 1
    assert row(sessions, task_id).status == TaskStatus.COMPLETED
    assert administrator.post(url, json={}).json() == tried
    assert row(sessions, task_id).status == TaskStatus.EXPIRED
    assert administrator.get("/api/v1/admin/stats").json()["tasks"]["expired"] == 1


def test_a_full_queue_refuses_uploads_for_a_while(
    settings: Settings, environment: dict[str, str], sessions: Sessions, user: User, store: MemoryStore
) -> None:
    for _ in range(3):
        make_task(sessions, user.id)
    small = make_settings(environment, max_backlog_seconds=2)
    with TestClient(create_app(small, store=store), headers=bearer(settings, user.id)) as client:
        answer = client.post("/api/v1/uploads", files={"file": ("a.jpg", encoded())})
    assert (answer.status_code, answer.json()["code"]) == (503, "backlog_full")
    assert int(answer.headers["retry-after"]) >= 60
    assert store.objects == {}


def test_an_expired_task_can_be_deleted_for_good(
    owner: TestClient, settings: Settings, sessions: Sessions, user: User, store: MemoryStore
) -> None:
    task_id = completed(sessions, user, store)
    change(sessions, task_id, started_at=ago(8 * DAY), finished_at=ago(8 * DAY))
    with sessions.begin() as session:
        session.execute(update(Upload).values(created_at=ago(9 * DAY)))
    retention = Retention(settings, sessions, store)
    assert retention.clean().expired == 1
    assert owner.delete(f"{URL}/{task_id}").status_code == 204
    retention.clean()
    with sessions.begin() as session:
        assert session.scalars(select(Task)).all() == []
        assert session.scalars(select(Upload)).all() == []


def test_a_look_at_the_queue_that_hangs_holds_nobody_up(
    settings: Settings, sessions: Sessions, user: User, store: MemoryStore
) -> None:
    backlog = Backlog(sessions, settings.timing, 3600)
    with backlog._lock:  # somebody looks, and does not come back
        assert backlog.look() is None


@pytest.mark.parametrize(
    ("module", "name", "method", "path"),
    [
        (tasks, "cancel", "POST", "/cancel"),
        (tasks, "requeue", "POST", "/retry"),
        (retention, "hold_original", "DELETE", ""),
    ],
)
def test_a_task_that_is_cleaned_away_meanwhile_is_not_found(
    owner: TestClient,
    sessions: Sessions,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    name: str,
    method: str,
    path: str,
) -> None:
    task_id = failed(sessions, user)
    act = getattr(module, name)

    def act_too_late(*arguments: Any) -> Any:
        with sessions.begin() as session:
            session.execute(delete(Task).where(Task.id == task_id))
        return act(*arguments)

    monkeypatch.setattr(module, name, act_too_late)
    answer = owner.request(method, f"{URL}/{task_id}{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")


def test_a_request_that_is_repeated_after_its_task_was_deleted_is_a_new_one(owner: TestClient) -> None:
    def send() -> UUID:
        files = {"file": ("photo.jpg", encoded(subject(200, 200)))}
        answer = owner.post("/api/v1/uploads", files=files, headers={"Idempotency-Key": "mine"})
        assert answer.status_code == 202
        return UUID(answer.json()["task_id"])

    first = send()
    assert send() == first
    assert owner.delete(f"{URL}/{first}").status_code == 204
    second = send()
    assert second != first
    assert owner.get(f"{URL}/{second}").json()["status"] == "queued"
