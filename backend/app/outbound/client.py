"""Requests to addresses that others name: images by URL, webhooks. Nothing inside our own networks is reached by them.

Built on httpcore and not on httpx: that reads no proxies from the environment, follows nobody, keeps no cookies and
unpacks nothing.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import httpcore2
import httpx2

from app.core.config import Settings
from app.core.errors import InvalidRequest
from app.core.logging import get_logger
from app.outbound.addresses import PORTS, Policy
from app.outbound.network import CheckedNetwork, Deadline, Lookup, Refused, Resolver, system_lookup
from app.outbound.urls import InvalidUrl, join, port_of, read_url
from app.version import VERSION

TOTAL_SECONDS = 30.0  # looking up, connecting, redirects and reading together
CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
MAX_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
PASSING = frozenset({408, 425, 429})  # and whatever is the server's fault
MAX_REPLY = 65_536  # bytes of an answer that is kept only to be shown
FREE_PIECES, LEAST_PIECE = 4_096, 64  # a file in more pieces has to come in larger ones (bytes, on average)

FAULTS = (
    *(httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.ProxyError),
    *(InvalidUrl, Refused),
)

log = get_logger(__name__)


class UrlNotFetched(InvalidRequest):
    """One sentence for all reasons: what differs would tell strangers about our networks."""

    code = "url_not_fetched"

    def __init__(self, *, passing: bool = False) -> None:
        """`passing`: trying again may help."""
        self.retryable = passing
        super().__init__(
            "The URL could not be fetched. It must be public, on port 80 or 443, and answer with the file itself "
            "within 30 seconds."
        )


class BodyTooLarge(Exception):
    """The file is larger than asked for: by its own word, or so far."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes")
        self.size_bytes = size_bytes


@dataclass(frozen=True)
class Reply:
    """What a request was answered; of the body only the beginning."""

    status: int
    headers: httpx2.Headers
    body: bytes


class Outbound:
    """The way out, safe to share between threads. `lookup` and `below` stand in for the real network in tests.

    With OUTBOUND_PROXY_URL everything goes through that proxy, which resolves the names and so has to do the checking
    of addresses: ours holds only where we connect ourselves.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        lookup: Lookup = system_lookup,
        below: httpcore2.NetworkBackend | None = None,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        proxy = settings.outbound_proxy_url
        self._proxy = _proxy(proxy.get_secret_value()) if proxy else None
        self._policy = Policy(settings.outbound_allowed_networks)
        self._resolver = Resolver(lookup)
        self._below = below or httpcore2.SyncBackend()
        self._total_seconds = total_seconds

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpcore2.default_ssl_context()

    def fetch(self, url: str, into: BinaryIO, *, max_bytes: int) -> None:
        """GET a file, and write it. Follows redirects, each checked like the first.

        Raises `InvalidUrl`, `UrlNotFetched`, and `BodyTooLarge` as soon as that shows.
        """
        deadline = Deadline(self._total_seconds)
        here = read_url(url)
        with _one_refusal(here):
            for _ in range(MAX_REDIRECTS + 1):
                with self._exchange("GET", here, deadline, {"Accept": "image/*,*/*;q=0.5"}) as answer:
                    if answer.status not in REDIRECTS:
                        _save(answer, into, max_bytes)
                        return
                    here = _onward(here, answer)
            raise Refused("redirects")

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes = b""
    ) -> Reply:
        """Send a request, and return the answer, whatever its status; redirects are not followed.

        Raises `InvalidUrl` and `UrlNotFetched`.
        """
        deadline = Deadline(self._total_seconds)
        there = read_url(url)
        with _one_refusal(there), self._exchange(method, there, deadline, headers or {}, content) as answer:
            body = bytearray()
            for chunk in answer.iter_stream():
                body += chunk
                if len(body) >= MAX_REPLY:
                    break
            return Reply(answer.status, httpx2.Headers(answer.headers), bytes(body[:MAX_REPLY]))

    @contextmanager
    def _exchange(
        self,
        method: str,
        url: httpx2.URL,
        deadline: Deadline,
        headers: Mapping[str, str],
        content: bytes = b"",
    ) -> Iterator[httpcore2.Response]:
        """One request on a connection of its own; its body is still to be read."""
        port, host = port_of(url), url.raw_host
        if self._proxy is not None and port not in PORTS:
            raise Refused("port")
        permits = self._policy.permits if self._proxy is None else _anything
        network = CheckedNetwork(self._resolver, permits, deadline, self._below)
        if self._proxy is not None and b":" in host:
            host = b"[%b]" % host  # a proxy gets it as text
        sent = {
            "Host": url.netloc.decode("ascii"),
            "User-Agent": f"QuickBG/{VERSION}",
            "Accept-Encoding": "identity",
            "Connection": "close",
            **headers,
        }
        seconds = {"connect": CONNECT_SECONDS, "read": READ_SECONDS, "write": READ_SECONDS, "pool": READ_SECONDS}
        with (
            httpcore2.ConnectionPool(
                ssl_context=self._tls if url.scheme == "https" else None, proxy=self._proxy, network_backend=network
            ) as pool,
            pool.stream(
                method,
                httpcore2.URL(scheme=url.raw_scheme, host=host, port=port, target=url.raw_path),
                headers=list(sent.items()),
                content=content or None,
                extensions={"timeout": seconds, "sni_hostname": url.raw_host.decode("ascii")},
            ) as answer,
        ):
            yield answer


def _anything(address: str, port: int) -> bool:
    """The proxy itself may stand anywhere."""
    return True


def _proxy(url: str) -> httpcore2.Proxy:
    read = httpx2.URL(url)
    auth = (read.username.encode(), read.password.encode()) if read.userinfo else None
    where = httpcore2.URL(scheme=read.raw_scheme, host=read.raw_host, port=port_of(read), target=b"/")
    return httpcore2.Proxy(where, auth=auth)


@contextmanager
def _one_refusal(url: httpx2.URL) -> Iterator[None]:
    """Whatever goes wrong is one error; the log says what it was, without the query, which may hold secrets."""
    try:
        yield
    except FAULTS as error:
        log.info("url_not_fetched", host=url.host, error=type(error).__name__, reason=str(error)[:200])
        raise UrlNotFetched(passing=_is_passing(error)) from error


def _is_passing(error: Exception) -> bool:
    """A network that failed, or a server that has said that it is not well."""
    return error.passing if isinstance(error, Refused) else not isinstance(error, InvalidUrl)


def _onward(here: httpx2.URL, answer: httpcore2.Response) -> httpx2.URL:
    location = httpx2.Headers(answer.headers).get("location")
    if not location:
        raise Refused("no location")
    there = join(here, location)
    if here.scheme == "https" and there.scheme != "https":
        raise Refused("downgrade")
    return there


def _save(answer: httpcore2.Response, into: BinaryIO, max_bytes: int) -> None:
    headers = httpx2.Headers(answer.headers)
    if answer.status != 200:
        raise Refused(f"status {answer.status}", passing=answer.status in PASSING or answer.status >= 500)
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused("encoded")  # we have asked for the plain file, and unpack nothing
    size = int(headers.get("content-length", "0"))
    if size > max_bytes:
        raise BodyTooLarge(size)
    size = 0
    for number, chunk in enumerate(answer.iter_stream()):
        size += len(chunk)
        if size > max_bytes:
            raise BodyTooLarge(size)
        if number > FREE_PIECES + size // LEAST_PIECE:
            raise Refused("pieces")  # byte by byte a file costs us a core, and who sends it hardly anything
        into.write(chunk)
