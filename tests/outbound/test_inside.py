"""Nothing inside is reached: the list of targets, redirects to them, resolvers that lie, proxies of the environment."""

import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path

import pytest

from app.outbound.client import Outbound, UrlNotFetched
from app.outbound.urls import InvalidUrl
from tests.outbound.sites import PUBLIC, Internet, Site, numeric, ok, saying, settings, site, to

LINES = [
    line.split() for line in (Path(__file__).parent / "targets.txt").read_text().splitlines() if line and line[0] != "#"
]
TARGETS = [line[0] for line in LINES]
# As the resolver is asked for them: in ASCII.
NAMES: Mapping[str, Sequence[str]] = {
    url.split("/")[2].lower().rpartition("@")[2].partition(":")[0].encode("idna").decode(): addresses
    for url, *addresses in LINES
    if addresses
}


def lookup(host: str, port: int) -> Sequence[str]:
    return NAMES.get(host) or numeric(host)


@pytest.fixture
def canary() -> Iterator[Site]:
    """Whoever is let in by mistake gets a picture, so that the mistake shows."""
    with site(saying(ok(b"canary"))) as running:
        yield running


def test_there_are_enough_of_them() -> None:
    assert len(TARGETS) >= 60
    assert len(set(TARGETS)) == len(TARGETS)


@pytest.mark.parametrize("url", TARGETS)
def test_no_target_is_reached(url: str, canary: Site) -> None:
    with pytest.raises((UrlNotFetched, InvalidUrl)):
        Outbound(settings(), lookup=lookup, below=Internet(canary)).fetch(url, io.BytesIO(), max_bytes=100)
    with pytest.raises((UrlNotFetched, InvalidUrl)):
        Outbound(settings(), lookup=lookup, below=Internet(canary)).request("POST", url, content=b"{}")
    assert canary.connections == 0


@pytest.mark.parametrize("url", TARGETS)
def test_no_redirect_leads_to_a_target(url: str, canary: Site) -> None:
    with site(saying(to(url))) as redirecting:
        internet = Internet(canary, {(PUBLIC, 80): redirecting})
        with pytest.raises(UrlNotFetched):
            Outbound(settings(), lookup=lookup, below=internet).fetch(f"http://{PUBLIC}/", io.BytesIO(), max_bytes=100)
        # What is no absolute URL leads back to the site itself, which sends on again.
        assert 1 <= redirecting.connections <= 4
    assert canary.connections == 0


def test_the_canary_sings(canary: Site) -> None:
    body = io.BytesIO()
    Outbound(settings(), below=Internet(canary)).fetch("http://93.184.215.99/", body, max_bytes=100)
    assert (canary.connections, body.getvalue()) == (1, b"canary")


def test_every_refusal_has_the_same_words(canary: Site) -> None:
    outbound = Outbound(settings(), lookup=lookup, below=Internet(canary))
    said = set()
    for url in ("http://127.0.0.1/", "http://nowhere.example/", f"http://{PUBLIC}:22/", "http://[::1]/"):
        with pytest.raises(UrlNotFetched) as caught:
            outbound.fetch(url, io.BytesIO(), max_bytes=100)
        said.add((caught.value.code, caught.value.message))
    assert len(said) == 1


@pytest.mark.parametrize(
    "answers",
    [
        [[PUBLIC], ["127.0.0.1"]],
        [["127.0.0.1"], [PUBLIC]],
        [[PUBLIC], ["::1"], ["10.0.0.1"]],
        [[PUBLIC, "127.0.0.1"], [PUBLIC]],
    ],
)
def test_a_resolver_that_changes_its_mind_leads_nowhere(answers: list[list[str]], canary: Site) -> None:
    """First public, then loopback, 200 times: a name is resolved once for each hop, and that answer is used."""
    asked = []
    changing = cycle(answers)

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return next(changing)

    with site(saying(to("/again"))) as public:
        outbound = Outbound(settings(), lookup=rebinding, below=Internet(canary, {(PUBLIC, 80): public}))
        for _ in range(200):
            with pytest.raises(UrlNotFetched):
                outbound.fetch("http://rebinding.example/", io.BytesIO(), max_bytes=100)
        assert 200 <= len(asked) <= 800
        assert public.connections <= len(asked)
    assert canary.connections == 0


def test_a_peer_that_is_not_the_one_connected_to_gets_no_byte(canary: Site) -> None:
    """Such as by a rule of the network that leads public addresses inside."""
    with pytest.raises(UrlNotFetched):
        Outbound(settings(), below=Internet(canary, honest_peers=True)).fetch(
            f"http://{PUBLIC}/", io.BytesIO(), max_bytes=100
        )
    assert canary.requests == []


def test_proxies_of_the_environment_are_not_used(canary: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    monkeypatch.setenv("NO_PROXY", "")
    body = io.BytesIO()
    with site(saying(ok(b"picture"))) as public:
        outbound = Outbound(settings(), below=Internet(canary, {(PUBLIC, 80): public}))
        outbound.fetch(f"http://{PUBLIC}/", body, max_bytes=100)
        with pytest.raises(UrlNotFetched):
            outbound.fetch("http://127.0.0.1/", body, max_bytes=100)
        assert public.connections == 1
    assert body.getvalue() == b"picture"
    assert canary.connections == 0


def test_an_international_name_is_resolved_and_asked_for_in_ascii(canary: Site) -> None:
    asked = []

    def remembering(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return [PUBLIC]

    with site(saying(ok(b"picture"))) as public:
        Outbound(settings(), lookup=remembering, below=Internet(canary, {(PUBLIC, 80): public})).fetch(
            "http://Bücher.example/ä?ö#ü", io.BytesIO(), max_bytes=100
        )
        assert asked == ["xn--bcher-kva.example"]
        head = public.requests[0]
    assert head.startswith(b"GET /%C3%A4?%C3%B6 HTTP/1.1\r\n")
    assert b"\r\nHost: xn--bcher-kva.example\r\n" in head
    assert b"\r\nAccept-Encoding: identity\r\n" in head
    assert b"cookie" not in head.lower()
