"""What a stranger may send down a connection, over real sockets: bounded, and answered with a problem document."""

import asyncio
import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Engine

from app.api import protocol
from app.api.protocol import MAX_AHEAD, MAX_HEAD, MORE, READ, Protocol
from app.core.config import Settings
from tests.api.live import Live, serve
from tests.embedded_services import wait_for

END = b"\r\n\r\n"
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /api/v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"

JSON = b"POST /api/v1/auth/register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


class Counting(Protocol):
    """The protocol, and how much it was given."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.received: list[int] = []  # bytes, read by read
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connections[transport.get_extra_info("peername")[1]] = self
        super().connection_made(transport)

    def buffer_updated(self, nbytes: int) -> None:
        self.received.append(nbytes)
        super().buffer_updated(nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.closed = True


connections: dict[int, Counting] = {}  # the latest one from each port


@pytest.fixture(scope="module")
def live(settings: Settings, engine: Engine) -> Iterator[Live]:
    with serve(settings, {}, http=Counting) as running:
        yield running


def ask(live: Live, sent: bytes, seconds: float = 5) -> bytes:
    """Send it all, and what comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", live.port), timeout=seconds) as connection:
        with suppress(ConnectionError):  # it has heard enough
            connection.sendall(sent)
        return read(connection)


def read(connection: socket.socket) -> bytes:
    found = b""
    try:
        while piece := connection.recv(65_536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(END)
    line, *fields = head.decode().split("\r\n")
    return int(line.split()[1]), dict(field.lower().split(": ", 1) for field in fields), body


def assert_problem(answer: bytes, status: int, code: str) -> None:
    found, headers, body = parse(answer)
    problem = json.loads(body)
    assert (found, problem["status"], problem["code"]) == (status, status, code)
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == problem["request_id"]
    assert headers["connection"] == "close"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert problem["detail"].endswith(".")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01" + END, 400, "malformed_request"),
        (b"FOO /livez HTTP/1.1\r\nHost: x" + END, 400, "malformed_request"),
        (b"GET /livez HTTP/1.1" + END, 400, "malformed_request"),
        (GET + b"Host: y" + END, 400, "malformed_request"),
        (b"GET /livez HTTP/1.1\nHost: x\n\n", 400, "malformed_request"),
        (b"GET /livez HTTP/1.1\r\nHost : x" + END, 400, "malformed_request"),
        (GET + b"A: b\r\n c" + END, 400, "malformed_request"),
        (b"GET /\xff HTTP/1.1\r\nHost: x" + END, 400, "malformed_request"),
        (b"GET /a\x00b HTTP/1.1\r\nHost: x" + END, 400, "malformed_request"),
        (b"GET http://h:99999/ HTTP/1.1\r\nHost: x" + END, 400, "malformed_request"),
        (b"GET http:///livez HTTP/1.1\r\nHost: x" + END, 400, "malformed_request"),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x" + END, 400, "malformed_request"),
        (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked" + END + b"0" + END, 400, "malformed_request"),
        (POST + b"Content-Length: 4\r\nContent-Length: 5" + END + b"abcde", 400, "malformed_request"),
        (POST + b"Content-Length: -4" + END, 400, "malformed_request"),
        (POST + b"Transfer-Encoding: gzip" + END, 400, "malformed_request"),
        (POST + b"Transfer-Encoding: gzip, chunked" + END + b"0" + END, 400, "malformed_request"),
        (POST + b"Transfer-Encoding: chunked" + END + b"zz" + END, 400, "malformed_request"),
        (b"GET / HTTP/9.9\r\nHost: x" + END, 505, "http_version_not_supported"),
        (b"GET /livez" + END, 505, "http_version_not_supported"),
        (b"PRI * HTTP/2.0\r\n\r\nSM" + END, 505, "http_version_not_supported"),
        (b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1\r\nHost: x" + END, 431, "headers_too_large"),
        (GET + b"A: " + b"a" * MAX_HEAD + END, 431, "headers_too_large"),
        (GET + b"A: b\r\n" * (MAX_HEAD // 4) + END, 431, "headers_too_large"),
        (GET + b"A: " + b"a" * 10 * MAX_HEAD, 431, "headers_too_large"),
    ],
)
def test_what_is_no_request_is_answered_with_a_problem_document(
    live: Live, sent: bytes, status: int, code: str
) -> None:
    assert_problem(ask(live, sent), status, code)


@pytest.mark.parametrize(
    "sent",
    [
        GET + b"Connection: close" + END,
        b"GET /livez HTTP/1.0" + END,
        b"GET http://evil.example/livez HTTP/1.1\r\nHost: x\r\nConnection: close" + END,
        GET + b"A: " + b"a" * (MAX_HEAD - 200) + b"\r\nConnection: close" + END,
        GET + b"Upgrade: websocket\r\nConnection: Upgrade" + END,
        GET + b"Upgrade: h2c\r\nConnection: Upgrade" + END,
    ],
)
def test_what_is_one_is_answered(live: Live, sent: bytes) -> None:
    status, _, body = parse(ask(live, sent))
    assert (status, json.loads(body)) == (200, {"status": "ok"})


@pytest.mark.parametrize("url", [b"http://evil.example", b"http://evil.example?x=1"])
def test_a_host_without_a_path_is_its_root(live: Live, url: bytes, caplog: pytest.LogCaptureFixture) -> None:
    status, _, body = parse(ask(live, b"GET " + url + b" HTTP/1.1\r\nHost: x\r\nConnection: close" + END))
    assert (status, json.loads(body)["status"]) == (200, "running")
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("behind", [b"", (GET + END) * 2_000, b"garbage" + END])
def test_so_many_may_wait_for_their_answers_and_then_it_ends(live: Live, behind: bytes) -> None:
    """Each request that waits takes memory, and its client none."""
    number = 1 + MAX_AHEAD if behind[:1] != b"g" else 3
    answers = ask(live, (GET + END) * number + (behind or GET + END))
    assert answers.count(b"HTTP/1.1 ") == answers.count(b"HTTP/1.1 200 OK") == number
    assert answers.count(b"connection: close") == 1
    assert answers.endswith(b'{"status":"ok"}')


def test_a_request_that_waits_for_its_body_and_another_is_not_answered(live: Live) -> None:
    answers = ask(live, (GET + END) * 2 + POST + b"Transfer-Encoding: chunked" + END + b"zz" + END)
    assert answers.count(b"HTTP/1.1 ") == answers.count(b"HTTP/1.1 200 OK") == 2


def test_requests_behind_one_another_are_answered_in_turn(live: Live) -> None:
    answers = ask(live, GET + END + GET + END + GET + b"Connection: close" + END)
    assert answers.count(b"HTTP/1.1 200 OK") == 3


def test_trailers_are_no_headers_and_have_bounds(live: Live) -> None:
    chunked = JSON + b"Transfer-Encoding: chunked" + END + b"2\r\n{}\r\n0\r\n"
    answers = ask(live, chunked + b"Authorization: Bearer x" + END + GET + b"Connection: close" + END)
    assert answers.startswith(b"HTTP/1.1 422")
    assert b"HTTP/1.1 200 OK" in answers
    assert_problem(ask(live, chunked + b"A: " + b"a" * 10 * MAX_HEAD), 431, "headers_too_large")


def flood(live: Live, head: bytes, piece: bytes, pieces: int) -> tuple[bytes, Counting]:
    """Send until there is an answer: that, and the server's side of the connection."""
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        connection.sendall(head)
        with suppress(ConnectionError):
            while pieces and not select.select([connection], [], [], 0)[0]:
                connection.sendall(piece)
                pieces -= 1
        return read(connection), connections[connection.getsockname()[1]]


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (POST + b"Transfer-Encoding: chunked" + END, 401, "not_authenticated"),
        (POST + b"Content-Length: 1000000000" + END, 413, "body_too_large"),
        (POST + b"Content-Length: 20000000" + END, 401, "not_authenticated"),
        (POST + b"Content-Length: 20000000\r\nExpect: 100-continue" + END, 401, "not_authenticated"),
        (POST.replace(b"uploads", b"nothing") + b"Transfer-Encoding: chunked" + END, 404, "not_found"),
        (POST.replace(b"uploads", b"auth/me") + b"Transfer-Encoding: chunked" + END, 405, "method_not_allowed"),
        (POST.replace(b"uploads", b"auth/token") + b"Content-Length: 1000000000" + END, 413, "body_too_large"),
    ],
    ids=["strange", "declared", "lying", "expecting", "nowhere", "wrong method", "form"],
)
def test_a_body_that_nobody_wants_is_not_read(live: Live, head: bytes, status: int, code: str) -> None:
    """A gigabyte, in chunks where it says so."""
    piece = b"100000\r\n" + bytes(0x100000) + b"\r\n" if b"chunked" in head else bytes(0x100000)
    answer, served = flood(live, head, piece, 1000)
    assert_problem(answer, status, code)
    wait_for(lambda: served.closed, "the connection is closed")
    assert served.received[0] <= READ
    assert sum(served.received) <= READ + MORE


def test_a_small_body_that_nobody_wants_is_taken_in_before_the_end(live: Live) -> None:
    """Else its sender would be cut off while it writes, and could miss the answer."""
    answer = ask(live, POST + b"Content-Length: 100000" + END + bytes(100_000))
    assert_problem(answer, 401, "not_authenticated")


def test_a_body_that_is_complete_costs_no_connection(live: Live) -> None:
    answers = ask(live, POST + b"Content-Length: 4" + END + b"abcd" + GET + b"Connection: close" + END)
    assert answers.startswith(b"HTTP/1.1 401")
    assert b"HTTP/1.1 200 OK" in answers


def test_a_head_that_does_not_end_is_not_waited_for(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    for begun in (b"GET /livez HTTP/1.1\r\nHo", b"\r\n", b""):
        began = time.monotonic()
        answer = ask(live, begun)
        assert 0.2 < time.monotonic() - began < 3
        if begun.strip():
            assert_problem(answer, 408, "request_timeout")
        else:
            assert answer == b""


def test_byte_by_byte_it_is_not_waited_for_either(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", live.port), timeout=5) as connection:
        connection.sendall(b"GET /")
        began = time.monotonic()
        while not select.select([connection], [], [], 0.1)[0] and time.monotonic() - began < 4:
            connection.sendall(b"a")
        assert_problem(read(connection), 408, "request_timeout")
    assert time.monotonic() - began < 3


def test_the_next_head_on_a_connection_has_its_time_too(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.4)
    with socket.create_connection(("127.0.0.1", live.port), timeout=5) as connection:
        for _ in range(3):
            connection.sendall(GET + END)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET")
        assert_problem(read(connection), 408, "request_timeout")


def test_garbage_after_a_request_cuts_nobody_elses_answer(live: Live) -> None:
    """It is answered once, with one or the other, and never with both mixed."""
    answer = ask(live, GET + END + b"garbage" + END)
    assert answer.count(b"HTTP/1.1 ") in {1, 2}
    assert answer.rstrip().endswith(b"}")
