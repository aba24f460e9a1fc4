"""The client of our own API: patient, and careful with its token and with files."""

import stat
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest

from app.shell.client import Client, Sent, Stopped, TaskView, Tokens, write_new
from app.shell.errors import FileProblem
from app.shell.targets import Job

API = "http://127.0.0.1:8000"
STORE = "http://127.0.0.1:9000/bucket/result.png?X-Amz-Signature=abc"
Answer = Callable[[httpx2.Request], httpx2.Response]


def client(answer: Answer, *, patience: float = 60, stop: threading.Event | None = None) -> Client:
    minted = iter(range(100))
    tokens = Tokens(lambda: f"token-{next(minted)}")
    transport = httpx2.MockTransport(answer)
    return Client(API, tokens, stop or threading.Event(), patience=patience, transport=transport)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"picture")
    return path


def test_an_upload_is_repeated_while_the_service_is_busy(picture: Path) -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        request.read()
        seen.append(request)
        if len(seen) == 1:
            return httpx2.Response(503, headers={"Retry-After": "0.01"})
        if len(seen) == 2:
            raise httpx2.ConnectError("gone")
        if len(seen) == 3:  # the server that died had begun to answer
            return httpx2.Response(409, json={"code": "idempotency_key_in_use"}, headers={"Retry-After": "0.01"})
        return httpx2.Response(202, json={"task_id": "42"})

    one = client(answer)
    assert one.submit(picture, {"padding": "3"}) == Sent("42")
    assert all(b"picture" in request.content and b"padding" in request.content for request in seen)
    keys = {request.headers["Idempotency-Key"] for request in seen}
    assert (len(seen), len(keys)) == (4, 1)  # so that they are one upload
    for options, anew in (({}, False), ({"padding": "3"}, True)):
        one.submit(picture, options, anew=anew)
        assert seen[-1].headers["Idempotency-Key"] not in keys
    one.submit(picture, {"padding": "3"})
    assert seen[-1].headers["Idempotency-Key"] in keys


def test_patience_ends_with_the_services_own_words(picture: Path) -> None:
    busy = client(
        lambda _: httpx2.Response(429, json={"detail": "Too many requests."}, headers={"Retry-After": "0.01"}),
        patience=0,
    )
    with pytest.raises(FileProblem, match="Too many requests"):
        busy.submit(picture, {})


def test_what_lasts_longer_than_the_patience_is_told_at_once(picture: Path) -> None:
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(429, json={"detail": "No images are left this month."}, headers={"Retry-After": "86400"})

    with pytest.raises(FileProblem, match="No images are left"):
        client(answer).submit(picture, {})
    assert len(asked) == 1


def test_a_refusal_is_told_in_the_services_own_words(picture: Path) -> None:
    refusing = client(lambda _: httpx2.Response(415, json={"detail": "Unsupported image format: GIF"}))
    with pytest.raises(FileProblem, match=r"^Unsupported image format: GIF$"):
        refusing.submit(picture, {})


def test_every_change_of_a_task_is_told() -> None:
    states = [("queued", 0), ("processing", 20), None, ("completed", 100)]
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert "wait" in request.url.params  # the service holds the answer, and nobody polls
        state = states[len(asked)]
        asked.append(request.headers["If-None-Match"])
        if state is None:
            return httpx2.Response(304)
        status, done = state
        return httpx2.Response(
            200, json={"status": status, "progress": done, "stage": None}, headers={"ETag": f'W/"{status}"'}
        )

    seen: list[TaskView] = []
    assert client(answer).wait("42", seen.append).status == "completed"
    assert [view.progress for view in seen] == [0, 20, 100]
    assert asked[1:] == ['W/"queued"', 'W/"processing"', 'W/"processing"']


def test_a_service_that_holds_no_answer_is_not_asked_in_a_loop() -> None:
    asked: list[float] = []

    def answer(_: httpx2.Request) -> httpx2.Response:
        asked.append(time.monotonic())
        if len(asked) < 4:
            return httpx2.Response(304)
        return httpx2.Response(200, json={"status": "completed", "progress": 100})

    client(answer).wait("42", lambda _: None)
    assert min(later - earlier for earlier, later in pairwise(asked)) > 0.1


def test_the_token_never_reaches_the_store(tmp_path: Path, picture: Path) -> None:
    asked: dict[str, str | None] = {}

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked[str(request.url)] = request.headers.get("Authorization")
        if request.url.port == 9000:
            return httpx2.Response(200, content=b"cut-out")
        return httpx2.Response(307, headers={"Location": STORE})

    client(answer).download("42", Job(picture, tmp_path / "out.png"))

    assert (tmp_path / "out.png").read_bytes() == b"cut-out"
    assert asked == {f"{API}/api/v1/tasks/42/result": "Bearer token-0", STORE: None}


def test_a_failed_download_leaves_no_file(tmp_path: Path, picture: Path) -> None:
    gone = client(lambda _: httpx2.Response(404, json={"detail": "No such task."}))
    with pytest.raises(FileProblem, match="No such task"):
        gone.download("42", Job(picture, tmp_path / "out.png"))
    assert list(tmp_path.iterdir()) == [picture]


def test_a_token_is_made_anew_before_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    minted = iter("abc")
    tokens = Tokens(lambda: next(minted))
    assert tokens.header() == tokens.header() == {"Authorization": "Bearer a"}
    now = 601.0
    assert tokens.header() == {"Authorization": "Bearer b"}


def test_a_stop_ends_the_waiting() -> None:
    stop = threading.Event()
    stop.set()
    waiting = client(lambda _: httpx2.Response(200, json={"status": "queued", "progress": 0}), stop=stop)
    with pytest.raises(Stopped):
        waiting.wait("42", lambda _: None)


def test_a_file_that_has_appeared_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_text("mine")
    with pytest.raises(FileExistsError):
        write_new(target, b"new", force=False)
    assert target.read_text() == "mine"
    write_new(target, b"new", force=True)
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]
    assert stat.S_IMODE(target.stat().st_mode) & 0o400
