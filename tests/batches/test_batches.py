"""`/api/v1/batches`: many at once, each by itself."""

import csv
import io
import json
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from app.core.config import Settings
from app.core.states import Stage, TaskStatus, UploadStatus
from app.db import batches, tasks
from app.db.base import Sessions
from app.db.models import Batch, Task, Upload, User, WebhookDelivery
from app.main import create_app
from app.storage.memory import MemoryStore
from tests.api.conftest import bearer, headers
from tests.conftest import make_settings, make_user
from tests.factories import RESULT, ago, change, claim
from tests.pictures import encoded, subject

__all__ = ["headers"]

URL = "/api/v1/batches"
PICTURE = encoded(subject(90, 70))


@pytest.fixture
def kept() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(environment: dict[str, str], headers: dict[str, str], kept: MemoryStore) -> Iterator[TestClient]:
    settings = make_settings(environment, max_batch_files=6)
    with TestClient(create_app(settings, store=kept), headers=headers) as made:
        yield made


def files(*named: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("file", (name, data, "application/octet-stream")) for name, data in named]


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def rows(sessions: Sessions) -> list[Task]:
    with sessions.begin() as session:
        return list(session.scalars(select(Task).order_by(Task.item)))


def count(sessions: Sessions, table: Any) -> int:
    with sessions.begin() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def complete(sessions: Sessions, task: Task, key: str = "processed/a/b/1.png") -> None:
    held = claim(sessions, task.id)
    assert held is not None
    with sessions.begin() as session:
        assert tasks.complete(session, held, replace(RESULT, key=key))


def end(sessions: Sessions, kept: MemoryStore, *, but: int | None = None) -> None:
    """As if the workers had finished every task; one of them failed."""
    for task in rows(sessions):
        if task.item == but:
            held = claim(sessions, task.id)
            assert held is not None
            with sessions.begin() as session:
                assert tasks.fail(session, held, code="image_corrupt", message="=damaged")
        else:
            key = f"processed/{task.user_id}/{task.id}/1.png"
            kept.put(key, io.BytesIO(f"result {task.item}".encode()), "image/png")
            complete(sessions, task, key)


def test_good_ones_are_taken_in_and_bad_ones_are_listed(
    client: TestClient, sessions: Sessions, kept: MemoryStore, user: User
) -> None:
    sent = files(("a.jpg", PICTURE), ("b.gif", encoded(kind="GIF")), ("c.jpg", PICTURE + b"x"), ("d.txt", b"text"))
    answer = client.post(URL, files=sent, data={"trim": "false", "name": "autumn"})
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert answer.headers["location"] == f"{URL}/{told['batch_id']}"
    assert (told["status"], told["total"], told["name"], told["progress"]) == ("processing", 2, "autumn", 0)
    assert told["counts"] == {"queued": 2}
    assert [(entry["name"], entry["code"]) for entry in told["refused"]] == [
        ("b.gif", "unsupported_format"),
        ("d.txt", "unsupported_format"),
    ]
    assert all(entry["detail"] for entry in told["refused"])
    made = rows(sessions)
    assert [(task.name, task.item, task.queue, task.options["trim"]) for task in made] == [
        ("a.jpg", 0, "bulk", False),
        ("c.jpg", 2, "bulk", False),
    ]
    with sessions.begin() as session:
        assert set(session.scalars(select(Upload.status))) == {UploadStatus.STORED}
    assert {key.split("/")[1] for key in kept.objects} == {str(user.id)}


def test_an_archive_keeps_its_names(client: TestClient, sessions: Sessions) -> None:
    packed = zipped(("shoes/a.jpg", PICTURE), ("../b.jpg", PICTURE), ("__MACOSX/._a", b"x"), ("in.zip", zipped()))
    told = client.post(URL, files=files(("all.zip", packed))).json()
    assert [(entry["name"], entry["code"]) for entry in told["refused"]] == [
        ("__MACOSX/._a", "not_a_picture"),
        ("in.zip", "nested_archive"),
    ]
    assert [task.name for task in rows(sessions)] == ["shoes/a.jpg", "b.jpg"]


def test_names_of_pictures_are_taken_at_their_word(client: TestClient, sessions: Sessions, user: User) -> None:
    body = {"image_urls": ["https://example.com/cup.jpg?size=2", "ftp://example.com/x"], "s3_keys": ["imports/x/y"]}
    told = client.post(URL, json=body | {"format": "webp"}).json()
    assert (told["total"], [entry["code"] for entry in told["refused"]]) == (1, ["invalid_url", "s3_key_not_found"])
    (task,) = rows(sessions)
    assert (task.name, task.options["format"]) == ("cup.jpg", "webp")
    with sessions.begin() as session:
        upload = session.scalars(select(Upload)).one()
        assert (upload.status, upload.source_url) == (UploadStatus.REMOTE, "https://example.com/cup.jpg?size=2")
        session.expunge_all()


def test_a_list_names_pictures_with_options_of_their_own(client: TestClient, sessions: Sessions) -> None:
    listed = "url,name,format\nhttps://example.com/1.jpg,one.jpg,webp\nhttps://example.com/2.jpg,,\nhttps://x/3,,gif\n"
    told = client.post(URL, files=files(("list.csv", listed.encode())), data={"trim": "false"}).json()
    assert [entry["code"] for entry in told["refused"]] == ["invalid_option"]
    assert [(task.name, task.options["format"], task.options["trim"]) for task in rows(sessions)] == [
        ("one.jpg", "webp", False),
        ("2.jpg", "png", False),
    ]


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"data": {"trim": "true"}}, 422, "file_missing"),
        ({"files": files(("a.gif", encoded(kind="GIF")))}, 422, "batch_empty"),
        ({"files": files(*[(f"{n}.jpg", PICTURE) for n in range(7)])}, 400, "malformed_body"),
        ({"files": files(("a.zip", zipped(*[(f"{n}.jpg", PICTURE) for n in range(7)])))}, 422, "too_many_files"),
        ({"json": {"image_urls": [f"https://example.com/{n}" for n in range(7)]}}, 422, "too_many_files"),
        ({"files": files(("a.zip", b"PK\3\4 broken"))}, 422, "archive_corrupt"),
        ({"files": files(("a.csv", b"a,b\n1,2"))}, 422, "manifest_invalid"),
        ({"files": files(("a.jpg", PICTURE)), "data": {"format": "gif"}}, 422, "invalid_option"),
        ({"files": files(("a.jpg", PICTURE)), "data": {"trim": ["true", "false"]}}, 422, "invalid_option"),
        ({"json": {"image_urls": "x"}}, 422, "invalid_request"),
        ({"json": [1]}, 422, "invalid_request"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "malformed_body"),
        ({"content": b"x", "headers": {"Content-Type": "image/jpeg"}}, 415, "unsupported_media_type"),
        ({"files": files(("a.jpg", PICTURE)), "data": {"webhook_url": "nowhere"}}, 422, "invalid_url"),
    ],
)
def test_what_is_no_batch_is_refused_and_leaves_nothing_at_work(
    client: TestClient, sessions: Sessions, sent: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post(URL, **sent)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert (count(sessions, Task), count(sessions, Batch)) == (0, 0)


def test_the_same_request_twice_is_one_batch(client: TestClient, sessions: Sessions) -> None:
    key = {"Idempotency-Key": "once"}
    sent = files(("a.jpg", PICTURE), ("b.jpg", PICTURE))
    first = client.post(URL, files=sent, headers=key)
    again = client.post(URL, files=sent, headers=key)
    assert (again.status_code, again.json()["batch_id"]) == (202, first.json()["batch_id"])
    assert again.headers["idempotency-replayed"] == "true"
    assert count(sessions, Task) == 2
    other = client.post(URL, files=sent[:1], headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_a_month_without_room_takes_none_of_it(client: TestClient, sessions: Sessions, user: User) -> None:
    with sessions.begin() as session:
        session.execute(update(User).where(User.id == user.id).values(images_per_month=1))
    answer = client.post(URL, files=files(("a.jpg", PICTURE), ("b.jpg", PICTURE)))
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert count(sessions, Task) == 0


def test_its_items_are_no_active_tasks_of_the_account(client: TestClient, sessions: Sessions, user: User) -> None:
    with sessions.begin() as session:
        session.execute(update(User).where(User.id == user.id).values(active_tasks=1))
    assert client.post(URL, files=files(("a.jpg", PICTURE), ("b.jpg", PICTURE))).status_code == 202
    assert client.post("/api/v1/uploads", files={"file": PICTURE}).status_code == 202


def test_how_far_it_is(client: TestClient, sessions: Sessions, kept: MemoryStore) -> None:
    batch_id = client.post(URL, files=files(*[(f"{n}.jpg", PICTURE) for n in range(4)])).json()["batch_id"]
    first, second, *_ = rows(sessions)
    complete(sessions, first)
    held = claim(sessions, second.id)
    assert held is not None
    with sessions.begin() as session:
        assert tasks.enter_stage(session, held, Stage.INFERRING)
    told = client.get(f"{URL}/{batch_id}").json()
    assert told["counts"] == {"completed": 1, "processing": 1, "queued": 2}
    assert (told["progress"], told["finished_at"]) == (30, None)
    assert [(item["name"], item["status"], item["progress"]) for item in told["items"]] == [
        ("0.jpg", "completed", 100),
        ("1.jpg", "processing", 20),
        ("2.jpg", "queued", 0),
        ("3.jpg", "queued", 0),
    ]
    (listed,) = client.get(URL).json()["batches"]
    assert listed == {name: value for name, value in told.items() if name != "items"}
    of_batch = client.get("/api/v1/tasks", params={"batch_id": batch_id}).json()["tasks"]
    assert len(of_batch) == 4


def test_when_it_will_be_done(client: TestClient, sessions: Sessions, kept: MemoryStore) -> None:
    sent = files(*((f"{n}.jpg", PICTURE + bytes([n])) for n in range(4)))
    batch_id = client.post(URL, files=sent).json()["batch_id"]
    assert client.get(f"{URL}/{batch_id}").json()["eta_seconds"] is None
    for task in rows(sessions)[:2]:
        complete(sessions, task, f"processed/{task.user_id}/{task.id}/1.png")
    change(sessions, rows(sessions)[0].id, started_at=ago(10))
    assert client.get(f"{URL}/{batch_id}").json()["eta_seconds"] in {10, 11}  # two in ten seconds, and two are left


def test_names_that_one_file_system_would_not_keep_apart(
    client: TestClient, sessions: Sessions, kept: MemoryStore
) -> None:
    names = ["\u00e9.png", "e\u0301.png", "a.png", "a.png/b.png", "c/d.png", "C/D.PNG"]
    batch_id = client.post(URL, files=files(("z.zip", zipped(*((name, PICTURE) for name in names))))).json()["batch_id"]
    end(sessions, kept)
    packed = zipfile.ZipFile(io.BytesIO(client.get(f"{URL}/{batch_id}/archive").content)).namelist()
    folded = [unicodedata.normalize("NFC", name).casefold() for name in packed]
    assert len(set(folded)) == len(names) + 1
    assert not any(other.startswith(f"{name}/") for name in folded for other in folded)


def test_cancelling_ends_what_has_not_ended(client: TestClient, sessions: Sessions) -> None:
    batch_id = client.post(URL, files=files(("a.jpg", PICTURE), ("b.jpg", PICTURE))).json()["batch_id"]
    complete(sessions, rows(sessions)[0])
    told = client.post(f"{URL}/{batch_id}/cancel").json()
    assert (told["status"], told["counts"]) == ("finished", {"completed": 1, "cancelled": 1})
    assert client.post(f"{URL}/{batch_id}/cancel").status_code == 200


def test_the_end_is_noticed_once_and_told(client: TestClient, sessions: Sessions, kept: MemoryStore) -> None:
    sent = client.post(URL, files=files(("a.jpg", PICTURE)), data={"webhook_url": "https://example.com/hook"})
    batch_id = sent.json()["batch_id"]
    with sessions.begin() as session:
        assert batches.finish_ended(session) == 0
    end(sessions, kept)
    with sessions.begin() as session:
        assert batches.finish_ended(session) == 1
        assert batches.finish_ended(session) == 0
        (told,) = session.scalars(select(WebhookDelivery).where(WebhookDelivery.type == "batch.finished"))
        assert (str(told.batch_id), told.payload["data"]["total"]) == (batch_id, 1)
    assert client.get(f"{URL}/{batch_id}").json()["finished_at"]


def test_all_results_come_in_one_archive_under_their_names(
    client: TestClient, sessions: Sessions, kept: MemoryStore
) -> None:
    packed = zipped(
        ("x/a.jpg", PICTURE), ("x/a.png", PICTURE), ("b.jpg", PICTURE), ("=c.jpg", PICTURE), ("d.gif", b"GIF8")
    )
    batch_id = client.post(URL, files=files(("all.zip", packed)), data={"name": "Jäger"}).json()["batch_id"]
    early = client.get(f"{URL}/{batch_id}/archive")
    assert (early.status_code, early.json()["code"]) == (409, "batch_not_finished")
    end(sessions, kept, but=2)
    answer = client.get(f"{URL}/{batch_id}/archive")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert "J%C3%A4ger.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["x/a.png", "x/a (2).png", "=c.png", "report.csv"]
        assert archive.read("x/a (2).png") == b"result 1"
        report = list(csv.DictReader(io.StringIO(archive.read("report.csv").decode("utf-8-sig"))))
    assert [(line["name"], line["result"], line["status"], line["code"]) for line in report] == [
        ("x/a.jpg", "x/a.png", "completed", ""),
        ("x/a.png", "x/a (2).png", "completed", ""),
        ("b.jpg", "", "failed", "image_corrupt"),
        ("'=c.jpg", "'=c.png", "completed", ""),
        ("d.gif", "", "refused", "unsupported_format"),
    ]


def test_what_is_finished_can_be_had_before_the_rest(client: TestClient, sessions: Sessions, kept: MemoryStore) -> None:
    batch_id = client.post(URL, files=files(("a.jpg", PICTURE), ("b.jpg", PICTURE))).json()["batch_id"]
    answer = client.get(f"{URL}/{batch_id}/archive", params={"partial": "true"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["report.csv"]


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("POST", "/cancel"), ("GET", "/archive")])
def test_anothers_is_not_there(
    client: TestClient, settings: Settings, sessions: Sessions, method: str, rest: str
) -> None:
    batch_id = client.post(URL, files=files(("a.jpg", PICTURE))).json()["batch_id"]
    other = bearer(settings, make_user(sessions).id)
    for asked in (batch_id, UUID(int=7)):
        answer = client.request(method, f"{URL}/{asked}{rest}", headers=other)
        assert (answer.status_code, answer.json()["code"]) == (404, "batch_not_found")
    assert client.get(URL, headers=other).json()["batches"] == []
    assert rows(sessions)[0].status == TaskStatus.QUEUED


def test_pages_of_batches(client: TestClient) -> None:
    made = [client.post(URL, files=files(("a.jpg", PICTURE))).json()["batch_id"] for _ in range(3)]
    first = client.get(URL, params={"limit": 2}).json()
    rest = client.get(URL, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [each["batch_id"] for each in first["batches"] + rest["batches"]] == made[::-1]
    assert rest["next_cursor"] is None


def test_a_deleted_item_is_gone_and_the_batch_stays(client: TestClient, sessions: Sessions, kept: MemoryStore) -> None:
    batch_id = client.post(URL, files=files(("a.jpg", PICTURE), ("b.jpg", PICTURE))).json()["batch_id"]
    assert client.delete(f"/api/v1/tasks/{rows(sessions)[0].id}").status_code == 204
    told = client.get(f"{URL}/{batch_id}").json()
    assert (told["total"], [item["name"] for item in told["items"]]) == (2, ["b.jpg"])
    with sessions.begin() as session:
        assert tasks.list_owned(session, rows(sessions)[1].user_id, limit=5)
    assert json.dumps(told)
