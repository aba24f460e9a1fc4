"""Bodies on their way in: the deadline, the least speed, and the room that all of them share."""

import asyncio
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.types import Message

from app.api import middleware, receiving
from app.api.receiving import FULL, GRACE, Pace, Receiving, Room
from app.core.config import MIB
from app.db.base import Sessions
from app.db.models import User
from app.storage.s3 import S3Store
from tests.api.live import Live, serve
from tests.api.test_protocol import END, assert_problem, read
from tests.conftest import make_settings
from tests.embedded_services import wait_for
from tests.factories import make_task
from tests.pictures import encoded

GONE: Message = {"type": "http.disconnect"}
SMALL: dict[str, Any] = {"upload_min_bytes_per_second": 5000, "max_image_bytes": MIB, "max_batch_bytes": MIB}


def run(
    bodies: list[bytes], pace: Pace, room: Room, who: str = "a", headers: Sequence[tuple[bytes, bytes]] = ()
) -> tuple[list[Message], Receiving]:
    """All that comes, when these bodies come at once and then nothing more."""
    waiting = iter(bodies)

    async def receive() -> Message:
        for body in waiting:
            return {"type": "http.request", "body": body, "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError("nothing comes")

    async def read_all() -> list[Message]:
        found: list[Message] = []
        while not found or found[-1] != GONE:
            found.append(await reading())
        assert await reading() == GONE
        return found

    state = {"account": who} if headers else {}
    reading = Receiving({"type": "http", "state": state, "headers": headers, "client": (who, 1)}, receive, pace, room)
    return asyncio.run(read_all()), reading


def test_who_stops_in_the_middle_is_told_so_at_the_deadline() -> None:
    began = time.monotonic()
    found, reading = run([b"abc"], Pace(0.2, 0), Room(10, 10))
    assert [message.get("body") for message in found] == [b"abc", None]
    assert reading.refusal is not None
    assert (reading.refusal.status, reading.refusal.code) == (408, "upload_too_slow")
    assert 0.2 <= time.monotonic() - began < 2


@given(st.integers(1, 10**6), st.lists(st.tuples(st.floats(0, GRACE), st.integers(0, 10**9)), max_size=20))
def test_the_time_that_is_given_is_bounded_and_grows_with_what_came(
    least: int, pieces: list[tuple[float, int]]
) -> None:
    pace = Pace(600, least)
    patience = pace.at_first
    for waited, came in pieces:
        after = pace.then(patience, waited, came)
        assert after <= GRACE
        assert after <= pace.then(patience, waited, came + 1)
        # Who keeps to the least speed is waited for as long as before.
        assert after >= patience or came < waited * least or after == GRACE
        patience = after


def test_who_was_fast_at_first_may_not_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "GRACE", 0.2)
    began = time.monotonic()
    _, reading = run([b"x" * 100_000], Pace(60, 1), Room(10**6, 10**6))
    assert reading.refusal is not None
    assert reading.refusal.code == "upload_too_slow"
    assert 0.2 <= time.monotonic() - began < 5


def test_nobody_takes_more_than_his_share_of_the_room() -> None:
    room = Room(10, 4)
    _, mine = run([b"1234", b"5"], Pace(5, 0), room)
    assert mine.refusal == FULL
    found, his = run([b"1234"], Pace(0.1, 0), room, who="b")
    assert found[0]["body"] == b"1234"
    assert his.refusal is not None
    assert his.refusal.code == "upload_too_slow"
    mine.end()
    his.end()
    assert [room.take(name, 4) for name in ("a", "a", "b", "c")] == [True, False, True, False]


def test_there_is_room_for_so_much_and_it_is_given_back() -> None:
    room = Room(10, 10)
    found, first = run([b"1234567890", b"1"], Pace(5, 0), room)
    assert [message.get("body") for message in found] == [b"1234567890", None]
    assert first.refusal == FULL
    first.end()
    first.end()  # twice is once
    assert room.take("b", 10)
    assert not room.take("b", 1)


def test_a_body_that_tells_its_length_waits_for_its_room_before_it_is_read() -> None:
    room = Room(10, 10)
    messages: list[Message] = [{"type": "http.request", "body": b"12345678", "more_body": False}]

    async def receive() -> Message:
        return messages.pop()

    async def both() -> Message:
        assert room.take("a", 5)
        scope = {"type": "http", "state": {"account": "a"}, "headers": [(b"content-length", b"8")]}
        reading = Receiving(scope, receive, Pace(5, 0), room)
        waiting = asyncio.create_task(reading())
        await asyncio.sleep(0)
        room.give_back("a", 1)  # not enough yet
        await asyncio.sleep(0)
        assert messages
        room.give_back("a", 4)
        message = await waiting
        assert not room.take("b", 3)
        reading.end()
        return message

    assert asyncio.run(both())["body"] == b"12345678"
    assert room.take("b", 10)


def test_who_finds_no_room_in_his_time_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "PATIENCE", 0.05)
    room = Room(10, 10)
    assert room.take("b", 5)
    _, refused = run([b"x"], Pace(5, 0), room, headers=[(b"content-length", b"8")])
    assert refused.refusal == FULL
    refused.end()
    assert room.take("b", 5)


def test_what_is_larger_than_all_room_is_left_to_the_limit_of_its_address() -> None:
    found, reading = run([b"x"], Pace(0.05, 0), Room(10, 10), headers=[(b"content-length", b"11")])
    assert found[0]["body"] == b"x"
    assert reading.refusal is not None
    assert reading.refusal.code == "upload_too_slow"


def test_one_that_does_not_tell_its_length_waits_likewise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "PATIENCE", 0.05)
    room = Room(80, 80)
    chunked = [(b"transfer-encoding", b"chunked")]
    found, first = run([b"x" * 12], Pace(0.05, 0), room, headers=chunked)  # more than it was taken for
    assert len(found[0]["body"]) == 12
    assert room.take("b", 60)
    _, second = run([b"x"], Pace(5, 0), room, headers=chunked)
    assert second.refusal == FULL
    first.end()
    second.end()
    assert room.take("b", 20)


def test_a_stranger_promises_in_vain() -> None:
    """He has what he has sent: else a few of them could hold all the room with next to nothing."""
    room = Room(10, 10)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def begun() -> None:
        scope = {"type": "http", "state": {}, "headers": [(b"content-length", b"10")], "client": ("2001:db8::1", 1)}
        await Receiving(scope, receive, Pace(5, 0), room)()

    asyncio.run(begun())
    assert room.take("account", 9)
    assert room._taken["2001:db8::/64"] == 1


def test_nobody_is_overtaken_by_others_of_his_account() -> None:
    room = Room(10, 10)
    order: list[str] = []

    async def one(name: str, length: int, who: str = "a") -> None:
        assert await room.wait(who, length, 5)
        order.append(name)
        await asyncio.sleep(0)
        room.give_back(who, length)

    async def all_of_them() -> None:
        assert room.take("a", 5)
        waiting = [asyncio.create_task(one("large", 8))]
        await asyncio.sleep(0)
        waiting += [asyncio.create_task(one(f"small {number}", 1)) for number in range(5)]
        waiting.append(asyncio.create_task(one("another's", 1, "b")))
        await asyncio.sleep(0.01)
        assert order == ["another's"]
        room.give_back("a", 5)
        await asyncio.gather(*waiting)

    asyncio.run(all_of_them())
    assert order[1] == "large"
    assert room.take("b", 10)


def test_who_goes_away_while_he_waits_takes_nothing_along() -> None:
    room = Room(10, 10)

    async def leave() -> None:
        assert room.take("a", 5)
        waiting = [asyncio.create_task(room.wait("a", size, 5)) for size in (8, 6, 4)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[1].cancel()
        assert await waiting[2]
        room.give_back("a", 4)
        late = asyncio.create_task(room.wait("a", 6, 5))
        await asyncio.sleep(0)
        room.give_back("a", 5)  # it is his
        late.cancel()  # before he learns of it
        await asyncio.gather(*waiting, late, return_exceptions=True)

    asyncio.run(leave())
    assert room.take("b", 10)


@given(st.lists(st.integers(1, 10), min_size=1, max_size=12))
def test_whatever_the_lengths_all_get_their_turn(lengths: list[int]) -> None:
    room = Room(10, 10)

    async def one(length: int) -> None:
        assert await room.wait("a", length, 5)
        await asyncio.sleep(0)
        room.give_back("a", length)

    async def all_of_them() -> None:
        await asyncio.gather(*map(one, lengths))

    asyncio.run(all_of_them())
    assert room.take("b", 10)


def test_the_end_of_a_complete_request_is_waited_for_without_a_deadline() -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}, GONE]

    async def receive() -> Message:
        if len(messages) == 1:
            await asyncio.sleep(0.2)
        return messages.pop(0)

    async def both() -> list[Message]:
        reading = Receiving({"type": "http", "state": {}, "headers": []}, receive, Pace(0.05, 0), Room(0, 0))
        return [await reading(), await reading()]

    assert asyncio.run(both())[1] == GONE


@pytest.fixture
def live(
    environment: dict[str, str], headers: dict[str, str], s3_store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Live]:
    monkeypatch.setattr(receiving, "GRACE", 0.4)
    monkeypatch.setattr(middleware, "ROOM", 1)  # so that it is that of the four largest
    with serve(make_settings(environment, **SMALL, upload_deadline_seconds=1.5), headers) as running:
        yield running


@pytest.fixture
def patient(
    environment: dict[str, str], headers: dict[str, str], s3_store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Live]:
    monkeypatch.setattr(middleware, "ROOM", 1)
    with serve(make_settings(environment, **SMALL), headers) as running:
        yield running


def begun(live: Live, path: str, kind: str, body: bytes, length: int = 100_000, method: str = "POST") -> socket.socket:
    """A request of which so much was sent."""
    token = live.client.headers["Authorization"]
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Type: {kind}\r\n"
    connection = socket.create_connection(("127.0.0.1", live.port), timeout=10)
    connection.sendall(f"{head}Content-Length: {length}".encode() + END + body)
    return connection


FORM = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


def test_a_body_that_stops_is_ended_whatever_it_is(live: Live) -> None:
    for path, kind, body in (
        ("/api/v1/uploads", FORM, PART),
        ("/api/v1/auth/register", "application/json", b'{"email":'),
        ("/api/v1/auth/token", "application/x-www-form-urlencoded", b"username=a"),
    ):
        began = time.monotonic()
        with begun(live, path, kind, body, 50_000) as connection:
            assert_problem(read(connection), 408, "upload_too_slow")
        assert 0.3 < time.monotonic() - began < 1.4  # by its speed


def test_a_body_that_keeps_coming_is_ended_at_the_deadline(live: Live) -> None:
    began = time.monotonic()
    with begun(live, "/api/v1/uploads", FORM, PART, 10**6) as connection:
        connection.settimeout(0.1)
        answer = b""
        while not answer and time.monotonic() - began < 5:
            connection.sendall(bytes(1000))
            try:
                answer = connection.recv(65_536)
            except TimeoutError:
                continue
        assert_problem(answer, 408, "upload_too_slow")
    assert 1.4 < time.monotonic() - began < 4


def test_one_that_only_waits_is_not_held_open_by_a_body(live: Live, sessions: Sessions, user: User) -> None:
    path = f"/api/v1/tasks/{make_task(sessions, user.id)}?wait=20"
    with begun(live, path, "text/plain", b"a") as connection:
        assert_problem(read(connection), 405, "method_not_allowed")
    with begun(live, path, "text/plain", b"a", 10_000, method="GET") as connection:
        assert_problem(read(connection), 408, "upload_too_slow")
    with begun(live, path, "text/plain", b"a", 100_000, method="GET") as connection:
        assert_problem(read(connection), 413, "body_too_large")


def test_slow_ones_hold_nobody_up_and_leave_nothing(live: Live, sessions: Sessions) -> None:
    slow = [begun(live, "/api/v1/uploads", FORM, PART) for _ in range(50)]
    answer = live.client.post("/api/v1/uploads", files={"file": ("a.jpg", encoded())})
    assert answer.status_code == 202
    for connection in slow:
        with connection:
            assert_problem(read(connection), 408, "upload_too_slow")


def test_what_lies_in_the_folder_for_files_is_bounded(
    live: Live, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Eight at a time, each nearly as large as it may be: for one of each account there is room."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(receiving, "PATIENCE", 0.1)
    body = PART + bytes(2_900_000)
    answers: list[bytes] = []

    def send() -> None:
        with begun(live, "/api/v1/uploads", FORM, body, 3_000_000) as connection:
            answers.append(read(connection))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = sorted(json.loads(answer.partition(END)[2])["code"] for answer in answers)
    assert codes == ["busy"] * 7 + ["upload_too_slow"]
    assert list(tmp_path.iterdir()) == []
    for _ in range(6):  # one after another there is room for more than four
        refused = live.client.post("/api/v1/uploads", files={"file": ("a.jpg", bytes(2_900_000))})
        assert (refused.status_code, refused.json()["code"]) == (413, "file_too_large")


@pytest.mark.parametrize("path", ["/v1.0/removebg", "/api/remove", "/api/v1/remove-background"])
def test_who_waits_for_his_picture_holds_no_room(patient: Live, path: str) -> None:
    """Of an account that has room for three bodies, a fourth is read while the tasks of those are waited for."""
    name = "image_file" if path == "/v1.0/removebg" else "file"
    noise = np.random.default_rng(1).integers(0, 255, (560, 600, 3), np.uint8)
    picture = encoded(Image.fromarray(noise), "PNG")  # a megabyte: there is room for three

    def send(_: int) -> int:
        return patient.client.post(path, files={name: ("a.png", picture)}, timeout=60).status_code

    with ThreadPoolExecutor(4) as pool:
        first = [pool.submit(send, number) for number in range(4)]
        wait_for(lambda: len(patient.changes) == 4 or any(each.done() for each in first), "all of them wait")
        assert not any(each.done() for each in first)
        patient.changes.end_waits()
        assert {each.result() for each in first} <= {202, 503}


def test_many_at_once_wait_for_each_other(patient: Live) -> None:
    """More than there is room for, of one account: each is read in its turn, and answered for what it is."""
    body = bytes(2_900_000)

    def send(_: int) -> int:
        return patient.client.post("/api/v1/uploads", files={"file": ("a.jpg", body)}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(send, range(8))) == [413] * 8
