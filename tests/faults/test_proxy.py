"""The fault proxy does to a connection what it says, and nothing else."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import HEALTHY, Proxies, Toxic

pytestmark = pytest.mark.xdist_group("faults")


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says what it hears, connection by connection."""

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    connection.sendall(data)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def proxies(echo: int) -> Iterator[Proxies]:
    with Proxies({"echo": echo}) as proxies:
        yield proxies


@pytest.fixture
def line(proxies: Proxies) -> Iterator[socket.socket]:
    """A connection that was made before anything happens to it."""
    with connect(proxies) as made:
        assert said(made, b"hello") == b"hello"
        yield made


def connect(proxies: Proxies) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxies.ports["echo"]), timeout=10)


def said(line: socket.socket, data: bytes) -> bytes:
    line.sendall(data)
    heard = b""
    while len(heard) < len(data) and (more := line.recv(65_536)):
        heard += more
    return heard


def test_a_healthy_one_is_not_noticed(proxies: Proxies, line: socket.socket) -> None:
    data = bytes(range(256)) * 4096
    sender = threading.Thread(target=line.sendall, args=(data,))
    sender.start()
    heard = b""
    while len(heard) < len(data):
        heard += line.recv(65_536)
    sender.join()
    assert heard == data
    line.shutdown(socket.SHUT_WR)
    assert line.recv(1) == b""  # half closed, and closed in order by the other side


def test_latency_comes_twice_in_a_round_trip(proxies: Proxies, line: socket.socket) -> None:
    proxies.set("echo", Toxic(latency=0.1, jitter=0.02))
    begun = time.monotonic()
    assert said(line, b"?") == b"?"
    assert 0.16 <= time.monotonic() - begun < 2
    proxies.heal()
    begun = time.monotonic()
    assert said(line, b"?") == b"?"
    assert time.monotonic() - begun < 0.16


def test_bandwidth(proxies: Proxies, line: socket.socket) -> None:
    proxies.set("echo", Toxic(bandwidth=100_000))
    begun = time.monotonic()
    assert said(line, b"x" * 20_000) == b"x" * 20_000
    assert 0.39 <= time.monotonic() - begun < 3


def test_a_black_hole_takes_everything_and_says_nothing(proxies: Proxies, line: socket.socket) -> None:
    proxies.set("echo", Toxic(black_hole=True))
    with connect(proxies) as other:
        for each in (line, other):
            each.sendall(b"still there?")
            each.settimeout(0.2)
            with pytest.raises(TimeoutError):
                each.recv(1)
        proxies.set("echo", HEALTHY)
        for each in (line, other):
            each.settimeout(10)
            assert each.recv(100) == b"still there?"


def test_a_reset_ends_every_connection(proxies: Proxies, line: socket.socket) -> None:
    proxies.set("echo", Toxic(reset=True))
    with pytest.raises(ConnectionResetError):
        line.recv(1)
    assert is_ended(proxies.ports["echo"])
    proxies.heal()
    with connect(proxies) as third:
        assert said(third, b"again") == b"again"


def test_a_share_of_the_http_requests_fails(proxies: Proxies, line: socket.socket) -> None:
    proxies.set("echo", Toxic(errors=1.0))
    assert said(line, b"not a request") == b"not a request"
    line.sendall(b"PUT /a?b HTTP/1.1\r\nHost: x\r\n\r\n")
    assert line.recv(65_536).startswith(b"HTTP/1.1 503 ")
    assert line.recv(1) == b""  # in order, so that the answer is read
    proxies.set("echo", Toxic(errors=0.5))
    outcomes = set()
    for _ in range(40):
        with connect(proxies) as each:
            outcomes.add(said(each, b"GET / HTTP/1.1\r\n")[:4])
    assert outcomes == {b"GET ", b"HTTP"}


def test_a_closed_port_opens_again(proxies: Proxies, line: socket.socket) -> None:
    port = proxies.ports["echo"]
    proxies.set("echo", Toxic(refuse=True))
    with pytest.raises(ConnectionResetError):
        line.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxies)
    proxies.heal()
    assert proxies.ports["echo"] == port
    with connect(proxies) as again:
        assert said(again, b"again") == b"again"


def test_whoever_calls_a_dead_server_learns_it(proxies: Proxies) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()[1]
    with Proxies({"dead": dead}) as others:
        assert is_ended(others.ports["dead"])


def is_ended(port: int) -> bool:
    """Whether a new connection comes to nothing, by a RST."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.recv(1)
    except ConnectionResetError:
        return True
    return False
