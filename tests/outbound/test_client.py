"""Fetching from servers that behave, and from those that do not."""

import gzip
import io
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.outbound import client
from app.outbound.client import BodyTooLarge, Outbound, Reply, UrlNotFetched
from app.outbound.network import LOOKUPS
from tests.embedded_services import wait_for
from tests.outbound.sites import (
    PUBLIC,
    Answer,
    Internet,
    Site,
    numeric,
    ok,
    open_to_loopback,
    saying,
    settings,
    site,
    to,
)

PICTURE = bytes(range(256)) * 40


def fetch(running: Site, max_bytes: int = 20_000, **options: Any) -> bytes:
    body = io.BytesIO()
    open_to_loopback(**options).fetch(running.url, body, max_bytes=max_bytes)
    return body.getvalue()


@pytest.mark.parametrize(
    "answer",
    [
        saying(ok(PICTURE)),
        saying(ok(PICTURE, b"Content-Encoding: identity")),
        saying(b"HTTP/1.1 200 OK\r\n\r\n", PICTURE),  # until it hangs up
        saying(b"HTTP/1.0 200 OK\r\n\r\n", PICTURE),
        saying(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n", ok(PICTURE)),
        saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2800\r\n", PICTURE, b"\r\n0\r\n\r\n"),
        saying(ok(PICTURE) + b"and more that nobody has asked for"),
    ],
)
def test_a_file_is_fetched(answer: Answer) -> None:
    with site(answer) as running:
        assert fetch(running) == PICTURE


@pytest.mark.parametrize(
    "answer",
    [
        saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\noops"),
        saying(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops"),
        saying(b"HTTP/1.1 204 No Content\r\n\r\n"),
        saying(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\n\r\noops"),
        saying(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"),
        saying(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n", PICTURE),  # shorter than it says
        saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2800\r\n", PICTURE),
        saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", PICTURE),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", PICTURE),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", PICTURE),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", PICTURE),
        saying(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", PICTURE),
        saying(b"SSH-2.0-OpenSSH_9.2\r\n"),
        saying(b"+PONG\r\n"),
        saying(),
    ],
)
def test_what_is_no_file_is_refused(answer: Answer) -> None:
    with site(answer) as running, pytest.raises(UrlNotFetched):
        fetch(running)


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"identity, gzip", b"GZIP", b"deflate"])
def test_a_bomb_is_not_unpacked(coding: bytes) -> None:
    with (
        site(saying(ok(gzip.compress(bytes(10_000_000)), b"Content-Encoding: " + coding))) as running,
        pytest.raises(UrlNotFetched),
    ):
        fetch(running)


def test_what_is_too_large_by_its_own_word_is_not_read() -> None:
    with (
        site(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 13107200\r\n\r\n")) as running,
        pytest.raises(BodyTooLarge) as caught,
    ):
        fetch(running)
    assert caught.value.size_bytes == 13_107_200


def endless(head: bytes, part: bytes) -> Answer:
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(part)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        endless(b"HTTP/1.1 200 OK\r\n\r\n", bytes(1000)),
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3e8\r\n" + bytes(1000) + b"\r\n"),
    ],
)
def test_what_never_ends_is_cut_off(answer: Answer) -> None:
    body = io.BytesIO()
    with site(answer) as running, pytest.raises(BodyTooLarge):
        open_to_loopback().fetch(running.url, body, max_bytes=20_000)
    assert len(body.getvalue()) <= 20_000


def test_byte_by_byte_it_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FREE_PIECES", 100)
    body = io.BytesIO()
    piece = b"1\r\nx\r\n"
    answer = endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", piece * 10)
    with site(answer) as running, pytest.raises(UrlNotFetched):
        open_to_loopback().fetch(running.url, body, max_bytes=20_000)
    assert len(body.getvalue()) < 200


def dripping(head: bytes, part: bytes) -> Answer:
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(part)
            threading.Event().wait(0.05)

    return answer


def silent(connection: socket.socket, _: bytes) -> None:
    connection.recv(1)


@pytest.mark.parametrize(
    "answer",
    [
        silent,
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n", b"x"),
        dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
        dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=", b"x"),
    ],
    ids=["silent", "body", "head", "informational", "chunk extension"],
)
def test_the_deadline_holds_whatever_comes_meanwhile(answer: Answer) -> None:
    """httpcore's own time-outs begin anew with every byte."""
    with site(answer) as running:
        begun = time.monotonic()
        with pytest.raises(UrlNotFetched):
            fetch(running, total_seconds=0.5)
        assert 0.4 < time.monotonic() - begun < 2


def test_a_resolver_that_hangs_holds_nobody() -> None:
    free, hanging = threading.Event(), []

    def lookup(host: str, port: int) -> Sequence[str]:
        if host == "hangs.example":
            hanging.append(host)
            free.wait(30)
        return numeric("127.0.0.1")

    def hang(_: int) -> None:
        with pytest.raises(UrlNotFetched):
            outbound.fetch("http://hangs.example/", io.BytesIO(), max_bytes=100)

    with site(saying(ok(PICTURE))) as running, ThreadPoolExecutor(LOOKUPS) as pool:
        outbound = open_to_loopback(lookup=lookup, total_seconds=1)
        begun = time.monotonic()
        list(pool.map(hang, range(LOOKUPS - 1)))
        assert time.monotonic() - begun < 5
        assert _works(outbound, running)  # beside them
        hang(0)
        # All places are taken: the next one waits for its own time and no longer.
        assert not _works(outbound, running)
        assert len(hanging) == LOOKUPS
        free.set()
        wait_for(lambda: _works(outbound, running), "the places are free again")


def _works(outbound: Outbound, running: Site) -> bool:
    try:
        outbound.fetch(running.url, io.BytesIO(), max_bytes=20_000)
    except UrlNotFetched:
        return False
    return True


def test_three_redirects_are_followed_and_a_fourth_is_not() -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        left = int(head.split()[1].rpartition(b"/")[2])
        connection.sendall(to(f"/{left - 1}", (301, 302, 303, 307, 308)[left]) if left else ok(PICTURE))

    with site(answer) as running:
        body = io.BytesIO()
        open_to_loopback().fetch(f"http://127.0.0.1:{running.port}/3", body, max_bytes=20_000)
        assert body.getvalue() == PICTURE
        running.requests.clear()
        with pytest.raises(UrlNotFetched):
            open_to_loopback().fetch(f"http://127.0.0.1:{running.port}/4", body, max_bytes=20_000)
        assert len(running.requests) == 4


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    with site(saying(ok(PICTURE))) as running:
        outbound = open_to_loopback(lookup=lambda host, port: ["127.255.255.254", "127.0.0.1"])
        # Nobody listens at the first: the site has bound the second alone.
        outbound.fetch(f"http://two.example:{running.port}/", io.BytesIO(), max_bytes=20_000)
        assert running.connections == 1


def test_a_request_is_sent_with_its_body_and_any_answer_is_returned() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)
    with site(saying(answer)) as running:
        reply = open_to_loopback().request(
            "POST", running.url, headers={"webhook-id": "7", "Content-Type": "application/json"}, content=b"{}"
        )
        assert isinstance(reply, Reply)
        assert (reply.status, reply.headers["location"], reply.body) == (302, "/x", bytes(65_536))
        head = running.requests[0]
    assert head.startswith(b"POST /picture.png HTTP/1.1\r\n")
    assert b"\r\nwebhook-id: 7\r\n" in head
    assert b"\r\nContent-Length: 2\r\n" in head
    assert head.endswith(b"\r\n\r\n{}")
    assert len(running.requests) == 1


# ---- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of `pictures.example`, signed by itself; certificate and key in one file."""
    path = tmp_path_factory.mktemp("tls") / "pictures.pem"
    names = ["-subj", "/CN=pictures.example", "-addext", "subjectAltName=DNS:pictures.example"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run([*made, *names, "-keyout", path, "-out", path.with_suffix(".crt")], check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[Site]:
    """A server that speaks TLS: a picture, but a way down to http at /down."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(to("http://pictures.example/") if b"/down" in head else ok(PICTURE))

    with site(answer, context) as running:
        yield running


def through_tls(secure: Site, plain: Site) -> Outbound:
    sites = {(PUBLIC, 443): secure}
    return Outbound(settings(), lookup=lambda host, port: [PUBLIC], below=Internet(plain, sites))


def test_certificates_are_checked_against_the_name(
    secure: Site, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(saying(ok(b"plain"))) as plain:
        with pytest.raises(UrlNotFetched):  # nobody vouches for it
            through_tls(secure, plain).fetch("https://pictures.example/", io.BytesIO(), max_bytes=20_000)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
        body = io.BytesIO()
        outbound = through_tls(secure, plain)
        outbound.fetch("https://pictures.example/", body, max_bytes=20_000)
        assert body.getvalue() == PICTURE
        for url in ("https://other.example/", f"https://{PUBLIC}/", "https://pictures.example/down"):
            with pytest.raises(UrlNotFetched):
                outbound.fetch(url, io.BytesIO(), max_bytes=20_000)
        assert plain.connections == 0


# ---- a proxy that is asked for


def test_everything_goes_through_the_proxy_that_is_named() -> None:
    asked = []

    def lookup(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return numeric("127.0.0.1")

    with site(saying(ok(PICTURE))) as proxy:
        named = settings(outbound_proxy_url=f"http://us:secr%40t@proxy.example:{proxy.port}")
        outbound = Outbound(named, lookup=lookup)
        body = io.BytesIO()
        outbound.fetch("http://pictures.example/a.png", body, max_bytes=20_000)
        assert body.getvalue() == PICTURE
        head = proxy.requests[0]
        assert head.startswith(b"GET http://pictures.example:80/a.png HTTP/1.1\r\n")
        assert b"\r\nProxy-Authorization: Basic dXM6c2VjckB0\r\n" in head
        outbound.fetch("http://[2606:4700::1111]/", io.BytesIO(), max_bytes=20_000)
        assert proxy.requests[1].startswith(b"GET http://[2606:4700::1111]:80/ HTTP/1.1\r\n")
        with pytest.raises(UrlNotFetched):
            outbound.fetch("http://pictures.example:22/", io.BytesIO(), max_bytes=100)
    assert set(asked) == {"proxy.example"}


def test_what_the_proxy_refuses_is_refused() -> None:
    with site(saying(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")) as proxy:
        outbound = Outbound(settings(outbound_proxy_url=f"http://127.0.0.1:{proxy.port}"))
        for url in ("http://10.0.0.1/", "https://inside.example/"):
            with pytest.raises(UrlNotFetched):
                outbound.fetch(url, io.BytesIO(), max_bytes=100)
        assert proxy.requests[1].startswith(b"CONNECT inside.example:443 HTTP/1.1\r\n")
