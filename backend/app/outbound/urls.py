"""URLs that somebody else has written, read once: what is checked here is what is connected to."""

import re
from urllib.parse import unquote

import httpx2

from app.core.errors import InvalidRequest

MAX_LENGTH = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}
HOST_NAME = re.compile(r"(?=.{1,254}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
IPV6 = re.compile(r"[0-9a-f:.]+")  # without a zone: those are of this machine


class InvalidUrl(InvalidRequest):
    """What is no URL of the kind that we fetch from."""

    code = "invalid_url"

    def __init__(self) -> None:
        super().__init__(
            "The URL must begin with http:// or https:// and name a host, have at most 2048 characters, and hold no "
            "user name or password."
        )


def read_url(text: str) -> httpx2.URL:
    """An http or https URL, its host in ASCII (IDNA) and lower case; `InvalidUrl` for anything else."""
    try:
        return _checked(httpx2.URL(text)) if len(text) <= MAX_LENGTH else _refuse()
    except (httpx2.InvalidURL, ValueError) as error:
        raise InvalidUrl from error


def join(base: httpx2.URL, location: str) -> httpx2.URL:
    """Where a redirect leads; `InvalidUrl` likewise."""
    try:
        return _checked(base.join(location)) if len(location) <= MAX_LENGTH else _refuse()
    except (httpx2.InvalidURL, ValueError) as error:
        raise InvalidUrl from error


def port_of(url: httpx2.URL) -> int:
    return url.port if url.port is not None else DEFAULT_PORTS[url.scheme]


def filename_of(url: str) -> str | None:
    """The last part of its path; `InvalidUrl` likewise."""
    path = read_url(url).raw_path.partition(b"?")[0].decode("ascii")
    return unquote(path.rpartition("/")[2]) or None


def _checked(url: httpx2.URL) -> httpx2.URL:
    host = url.raw_host.decode("ascii")
    is_host = (IPV6 if ":" in host else HOST_NAME).fullmatch(host)
    if url.scheme not in DEFAULT_PORTS or url.userinfo or not is_host or not 0 < port_of(url) < 65_536:
        _refuse()
    return url


def _refuse() -> httpx2.URL:
    raise InvalidUrl
