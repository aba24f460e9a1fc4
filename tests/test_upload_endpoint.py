"""`POST /api/v1/uploads`: what is taken in, and what is refused with which words and nothing left behind."""

import asyncio
import encodings
import json
from collections.abc import Callable
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import func, select
from starlette.types import Message, Scope

from app.core.config import Settings
from app.core.errors import StorageUnavailable
from app.db.base import Sessions
from app.db.models import Task, Upload, User
from app.main import create_app
from app.storage.memory import MemoryStore
from tests.api.conftest import bearer, client, headers
from tests.conftest import make_settings
from tests.embedded_services import wait_for
from tests.factories import row
from tests.pictures import encoded, subject

__all__ = ["client", "headers"]

URL = "/api/v1/uploads"
DEFAULTS = {
    "operation": "remove-background",
    "model": "isnet-general-use",
    "refine": True,
    "trim": True,
    "padding": "10px",
    "roi": None,
    "quality": "balanced",
    "background": None,
    "size": "original",
    "scale": "original",
    "position": None,
    "shadow": "none",
    "shadow_opacity": 50,
    "format": "png",
}
Send = Callable[..., Response]


@pytest.fixture
def kept() -> MemoryStore:
    """A store of this test's own, so that everything in it can be counted."""
    return MemoryStore()


@pytest.fixture
def send(settings: Settings, headers: dict[str, str], kept: MemoryStore) -> Send:
    def send(data: bytes, name: str = "photo.jpg", **fields: str) -> Response:
        with TestClient(create_app(settings, store=kept)) as http:
            return http.post(URL, headers=headers, files={"file": (name, data, "image/jpeg")}, data=fields)

    return send


def count(sessions: Sessions, table: type[Task] | type[Upload]) -> int:
    with sessions.begin() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_an_image_is_stored_recorded_and_queued(
    client: TestClient, headers: dict[str, str], sessions: Sessions, user: User
) -> None:
    answer = client.post(URL, headers=headers, files={"file": ("photo.jpg", encoded(), "image/jpeg")})
    assert answer.status_code == 202
    body = answer.json()
    assert set(body) == {"upload_id", "task_id", "status", "message"}
    assert (body["status"], body["message"]) == ("queued", "Image queued for processing")
    assert answer.headers["location"] == f"/api/v1/tasks/{body['task_id']}"
    task = row(sessions, UUID(body["task_id"]))
    assert (task.user_id, task.upload_id, task.status) == (user.id, UUID(body["upload_id"]), "queued")
    assert task.options == DEFAULTS
    upload = task.upload
    assert (upload.status, upload.format, upload.width, upload.height) == ("stored", "JPEG", 320, 240)
    assert upload.filename == "photo.jpg"
    assert task.request_id == answer.headers["x-request-id"]
    wait_for(lambda: row(sessions, task.id).dispatched_at is not None, "the bell was rung")


def test_the_original_is_kept_byte_for_byte(send: Send, kept: MemoryStore) -> None:
    data = encoded(kind="PNG")
    assert send(data).status_code == 202
    assert list(kept.objects.values()) == [data]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_every_promised_format_is_taken_whatever_its_name(send: Send, kind: str) -> None:
    assert send(encoded(kind=kind), "file.txt").status_code == 202


def test_options_are_recorded(send: Send, sessions: Sessions) -> None:
    answer = send(encoded(), refine="false", trim="0", padding="3")
    assert answer.status_code == 202
    asked = {"refine": False, "trim": False, "padding": "3px"}
    assert row(sessions, UUID(answer.json()["task_id"])).options == DEFAULTS | asked


@pytest.mark.parametrize(
    ("fields", "recorded"),
    [
        ({"quality": "best", "format": "webp"}, {"quality": "best", "format": "webp"}),
        ({"format": "jpeg", "background": "FFF"}, {"format": "jpg", "background": "#ffffff"}),
        ({"format": "zip", "background": ""}, {"format": "zip"}),
        ({"format": "", "background": "transparent"}, {}),
    ],
)
def test_what_the_result_is_to_be_is_recorded(
    send: Send, sessions: Sessions, fields: dict[str, str], recorded: dict[str, str]
) -> None:
    answer = send(encoded(), **fields)
    assert answer.status_code == 202
    assert row(sessions, UUID(answer.json()["task_id"])).options == DEFAULTS | recorded


@pytest.mark.parametrize(
    ("data", "status", "detail", "code"),
    [
        (encoded(kind="GIF"), 415, "Unsupported image format: GIF", "unsupported_format"),
        (b"just some text", 415, "Unsupported image format: unknown", "unsupported_format"),
        (b"", 422, "File is empty", "file_empty"),
        (b"\xff\xd8" + bytes(13_107_198), 413, "File size (12.5MB) exceeds maximum (10MB)", "file_too_large"),
        (encoded(subject(5000, 100)), 422, "Image dimensions too large (max 4096x4096)", "dimensions_too_large"),
        (encoded(subject(49, 49)), 422, "Image dimensions too small (min 50x50)", "dimensions_too_small"),
    ],
    ids=["gif", "text", "empty", "12.5MB", "5000x100", "49x49"],
)
def test_what_does_not_fit_is_refused_in_these_words(
    send: Send, sessions: Sessions, kept: MemoryStore, data: bytes, status: int, detail: str, code: str
) -> None:
    answer = send(data)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["detail"], body["code"], body["status"]) == (detail, code, status)
    assert body["request_id"] == answer.headers["x-request-id"]
    assert kept.objects == {}
    assert (count(sessions, Upload), count(sessions, Task)) == (0, 0)


@pytest.mark.parametrize("data", [encoded(subject(50, 50)), encoded(subject(4096, 60))], ids=["50x50", "4096 wide"])
def test_the_limits_themselves_are_allowed(send: Send, data: bytes) -> None:
    assert send(data).status_code == 202


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"padding": "ten"}, ["padding", "'ten'"]),
        ({"padding": "-1"}, ["padding", "'-1'", "0"]),
        ({"trim": "perhaps"}, ["trim", "'perhaps'"]),
        ({"colour": "red"}, ["colour"]),
        ({"quality": "fast"}, ["quality", "'fast'", "'balanced'", "'best'"]),
        ({"format": "gif"}, ["format", "'gif'", "'png'", "'webp'", "'jpg'", "'zip'"]),
        ({"format": "jpg"}, ["format", "'jpg'", "background"]),
        ({"format": "zip", "background": "red"}, ["format", "'zip'", "background"]),
        ({"background": "reddish"}, ["background", "'reddish'", "#rrggbb"]),
    ],
)
def test_a_wrong_option_is_named(send: Send, kept: MemoryStore, fields: dict[str, str], words: list[str]) -> None:
    answer = send(encoded(), **fields)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_option")
    for word in words:
        assert word in answer.json()["detail"]
    assert kept.objects == {}


def test_a_missing_file_is_named(client: TestClient, headers: dict[str, str]) -> None:
    for answer in (
        client.post(URL, headers=headers, data={"trim": "true"}),
        client.post(URL, headers=headers),
        client.post(URL, headers=headers, data={"file": "not a file"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "file_missing")
    assert "'filename'" in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["application/json", "image/jpeg", "text/plain"])
def test_only_a_form_is_read(client: TestClient, headers: dict[str, str], kind: str) -> None:
    answer = client.post(URL, headers=headers | {"Content-Type": kind}, content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "multipart/form-data" in answer.json()["detail"]


def test_an_option_that_is_there_twice_has_no_say(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post(URL, headers=headers, data={"trim": ["true", "false"]}, files={"file": encoded()})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_option")
    assert "trim" in answer.json()["detail"]


def test_a_file_that_nobody_has_chosen_does_no_harm(client: TestClient, headers: dict[str, str]) -> None:
    files = [("file", ("", b"", "image/jpeg")), ("file", ("b.jpg", encoded(), "image/jpeg"))]
    assert client.post(URL, headers=headers, files=files).status_code == 202


def test_two_files_are_one_too_many(client: TestClient, headers: dict[str, str]) -> None:
    files = [("file", ("a.jpg", encoded(), "image/jpeg")), ("file", ("b.jpg", encoded(), "image/jpeg"))]
    answer = client.post(URL, headers=headers, files=files)
    assert (answer.status_code, answer.json()["code"]) == (422, "several_images")
    answer = client.post(URL, headers=headers, files=[*files, *files])
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")


def test_a_broken_form_is_a_client_error(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post(
        URL, headers=headers | {"Content-Type": "multipart/form-data; boundary=x"}, content=b"--x\r\nnonsense"
    )
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("sent", [[], [(b"authorization", b"Bearer nonsense")], [(b"authorization", b"Basic YTpi")]])
def test_the_caller_is_asked_for_before_the_body_is_read(settings: Settings, sent: list[tuple[bytes, bytes]]) -> None:
    answers: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        answers.append(message)

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": URL,
        "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"1000"), *sent],
    }
    asyncio.run(create_app(settings)(scope, receive, send))
    assert answers[0]["status"] == 401
    assert (b"www-authenticate", b"Bearer") in answers[0]["headers"]
    assert json.loads(answers[1]["body"])["code"] == "not_authenticated"


def test_a_body_beyond_all_bounds_is_cut_off_with_a_problem_document(
    settings: Settings, environment: dict[str, str], headers: dict[str, str], kept: MemoryStore
) -> None:
    small = make_settings(environment, max_image_bytes=10_000)
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    with TestClient(create_app(small, store=kept)) as http:
        answer = http.post(URL, headers=headers, files={"file": ("a.jpg", bytes(2_000_000), "image/jpeg")})
        chunked = http.post(
            URL,
            headers=headers | {"Content-Type": "multipart/form-data; boundary=x"},
            content=iter([part, *[bytes(100_000)] * 20]),
        )
    for got in (answer, chunked):
        assert (got.status_code, got.json()["code"]) == (413, "body_too_large")
        assert got.headers["content-type"] == "application/problem+json"
        assert got.headers["x-request-id"]


class BrokenStore(MemoryStore):
    """A store that is away while it is asked to keep something."""

    def put(self, key: str, body: object, content_type: str) -> None:
        raise StorageUnavailable("The object store cannot be reached.")


def test_a_store_that_is_away_is_no_promise(settings: Settings, headers: dict[str, str], sessions: Sessions) -> None:
    with TestClient(create_app(settings, store=BrokenStore())) as http:
        answer = http.post(URL, headers=headers, files={"file": ("a.jpg", encoded(), "image/jpeg")})
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert answer.headers["retry-after"]
    # Nobody knows whether the store has kept the object: its row names it.
    with sessions.begin() as session:
        assert session.scalars(select(Upload.status)).all() == ["pending"]
    assert count(sessions, Task) == 0


def test_a_form_in_an_encoding_that_it_breaks_is_a_client_error(client: TestClient, headers: dict[str, str]) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="trim"\r\n\r\n\xff-----\r\n--x--\r\n'
    for charset in ("utf-8", "ASCII", '"us-ascii"'):
        sent = {"Content-Type": f"multipart/form-data; charset={charset}; boundary=x"}
        answer = client.post(URL, headers=headers | sent, content=body)
        assert answer.status_code in {400, 422}
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("charset", ["punycode", "idna", "nonsense", '"utf-7"', "a" * 20_000])
@pytest.mark.parametrize("url", [URL, "/api/v1/auth/token"])
def test_a_form_comes_in_no_encoding_that_is_dear(client: TestClient, url: str, charset: str) -> None:
    known = dict(encodings._cache)
    sent = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    answer = client.post(url, headers=sent, content=b"--x--\r\n")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_charset")
    assert encodings._cache == known


def test_a_broker_that_is_away_refuses_nothing(
    environment: dict[str, str], headers: dict[str, str], sessions: Sessions, kept: MemoryStore
) -> None:
    alone = make_settings(environment, redis_url="redis://127.0.0.1:9/0")
    with TestClient(create_app(alone, store=kept)) as http:
        answer = http.post(URL, headers=headers, files={"file": ("a.jpg", encoded(), "image/jpeg")})
    assert answer.status_code == 202
    assert row(sessions, UUID(answer.json()["task_id"])).dispatched_at is None


def test_an_unknown_account_behind_a_good_signature_is_refused(client: TestClient, settings: Settings) -> None:
    answer = client.post(URL, headers=bearer(settings, UUID(int=1)), files={"file": encoded()})
    assert answer.status_code == 401
