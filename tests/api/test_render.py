"""`POST /tasks/{id}/render`: something else is made of the same original."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from app.core.config import Settings
from app.core.options import RemovalOptions
from app.core.states import UploadStatus
from app.db.base import Sessions
from app.db.models import Matte, Task, Upload, Usage, User
from app.main import create_app
from app.services.retention import Retention
from app.storage.base import matte_key
from app.storage.memory import MemoryStore
from tests.api.conftest import bearer
from tests.conftest import make_settings, make_user
from tests.factories import make_task, row
from tests.services.test_mattes import digest
from tests.services.test_processing import Bench

URL = "/api/v1/tasks"
Open = Callable[..., TestClient]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def open_api(environment: dict[str, str], sessions: Sessions, user: User, store: MemoryStore) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_api(**limits: Any) -> TestClient:
            made = make_settings(environment, **limits)
            client = TestClient(create_app(made, store=store), headers=bearer(made, user.id))
            return stack.enter_context(client)

        yield open_api


@pytest.fixture
def owner(open_api: Open) -> TestClient:
    return open_api()


def render(client: TestClient, task_id: UUID, key: str | None = None, **options: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(f"{URL}/{task_id}/render", json=options, headers=headers)


def refused(answer: Any, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return str(answer.json()["detail"])


def test_a_new_task_of_the_same_original(owner: TestClient, sessions: Sessions, user: User) -> None:
    first = make_task(sessions, user.id)
    answer = render(owner, first, background="navy", format="jpg")
    assert answer.status_code == 202, answer.text
    made = row(sessions, UUID(answer.json()["task_id"]))
    assert made.id != first
    assert answer.headers["Location"] == f"{URL}/{made.id}"
    assert answer.json()["upload_id"] == str(row(sessions, first).upload_id) == str(made.upload_id)
    asked = RemovalOptions(background="navy", format="jpg")
    assert (made.status, made.queue, made.options) == ("queued", "interactive", asked.model_dump(mode="json"))
    assert (made.batch_id, made.recipe) == (None, None)


def test_with_a_recipe(owner: TestClient, sessions: Sessions, user: User) -> None:
    answer = render(owner, make_task(sessions, user.id), recipe="marketplace-white", format="webp")
    made = row(sessions, UUID(answer.json()["task_id"]))
    assert (made.recipe, made.options["format"], made.options["background"]) == (
        "marketplace-white@1",
        "webp",
        "#ffffff",
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"format": "jpg"}, "format"),
        ({"trim": "false"}, "trim"),
        ({"recipe": 1}, "recipe"),
    ],
)
def test_wrong_options_are_named(
    owner: TestClient, sessions: Sessions, user: User, options: dict[str, Any], named: str
) -> None:
    answer = render(owner, make_task(sessions, user.id), **options)
    assert answer.status_code == 422
    assert named in answer.json()["detail"]


def test_a_task_of_another_account_is_not_there(owner: TestClient, sessions: Sessions) -> None:
    refused(render(owner, make_task(sessions, make_user(sessions).id)), 404, "task_not_found")


@pytest.mark.parametrize("status", [UploadStatus.EXPIRED, UploadStatus.PENDING])
def test_without_its_original_there_is_nothing_to_make_it_of(
    owner: TestClient, sessions: Sessions, user: User, status: UploadStatus
) -> None:
    task_id = make_task(sessions, user.id)
    with sessions.begin() as session:
        session.execute(update(Upload).values(status=status))
    assert "upload it again" in refused(render(owner, task_id), 409, "original_missing")
    with sessions.begin() as session:
        assert len(session.scalars(select(Task)).all()) == 1


def test_the_same_request_again_is_the_same_task(owner: TestClient, sessions: Sessions, user: User) -> None:
    task_id = make_task(sessions, user.id)
    first, again = (render(owner, task_id, key="k", format="webp") for _ in range(2))
    assert first.json() == again.json()
    assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")
    refused(render(owner, task_id, key="k", format="png"), 422, "idempotency_key_reused")
    refused(render(owner, make_task(sessions, user.id), key="k", format="webp"), 422, "idempotency_key_reused")


def test_it_counts_as_work_and_not_as_a_picture(open_api: Open, sessions: Sessions, user: User) -> None:
    client = open_api(quota_active_tasks=2, quota_images_per_month=1)
    task_id = make_task(sessions, user.id)
    assert render(client, task_id).status_code == 202
    refused(render(client, task_id), 429, "too_many_active_tasks")
    with sessions.begin() as session:
        assert session.scalars(select(Usage)).all() == []


def test_its_pixels_count(open_api: Open, sessions: Sessions, user: User) -> None:
    client = open_api(rate_limit_megapixels_per_minute=1)
    task_id = make_task(sessions, user.id)
    with sessions.begin() as session:
        session.execute(update(Upload).values(width=900, height=1000))
    assert render(client, task_id).status_code == 202
    refused(render(client, task_id), 429, "rate_limited")


def test_the_last_task_of_a_picture_takes_its_matte_along(
    owner: TestClient, settings: Settings, sessions: Sessions, user: User, store: MemoryStore, tmp_path: Any
) -> None:
    bench = Bench(settings, sessions, tmp_path)
    bench.store = store
    first = bench.task(user)
    key = row(sessions, first).upload.key
    with sessions.begin() as session:
        session.execute(update(Upload).values(sha256=digest(store.get(key))))
    second = UUID(render(owner, first, format="webp").json()["task_id"])
    for task_id in (first, second):
        bench.process(task_id)
        assert row(sessions, task_id).status == "completed"
    assert bench.engine.runs == 1
    with sessions.begin() as session:
        (matte,) = session.scalars(select(Matte)).all()
    assert owner.delete(f"{URL}/{first}").status_code == 204
    assert matte_key(user.id, matte.id) in store.objects
    assert owner.delete(f"{URL}/{second}").status_code == 204
    assert store.objects == {}
    Retention(settings, sessions, store).clean()
    with sessions.begin() as session:
        assert session.scalars(select(Matte)).all() == []
