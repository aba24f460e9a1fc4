"""What the values of settings have to look like."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

# Passwords of documentation, of images and of compose files: the first things that anybody tries.
WELL_KNOWN = {
    *("password", "passw0rd", "postgres", "quickbg", "secret", "admin", "root", "guest", "user", "pass", "redis"),
    *("minioadmin", "minio123", "test", "testtest", "default", "123456", "12345678", "development"),
    *("quickbg_pass", "quickbg_password", "rabbitmq", "valkey", "letmein", "qwerty"),
}
EXAMPLE_PARTS = ("change-me", "changeme", "change_me", "change-this", "in-production", "your-", "your_", "example")
HOST = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]")
# The ends of names that no public resolver knows.
PRIVATE_ENDS = (".local", ".localhost", ".internal", ".lan", ".home.arpa", ".svc", ".test", ".invalid")


def is_well_known(secret: str) -> bool:
    """Whether a secret comes from an example or is one character over and over."""
    plain = secret.lower()
    return len(set(plain)) < 3 or plain in WELL_KNOWN or any(part in plain for part in EXAMPLE_PARTS)


def is_url(value: str, schemes: set[str]) -> bool:
    """Whether it has one of these schemes, and a port that is a number if it has any."""
    try:
        parts = urlsplit(value)
        return parts.scheme in schemes and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def is_open_to_eavesdroppers(url: str) -> bool:
    """Whether it leads over http to a host that is not of a network of one's own."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme != "http":
        return False
    try:
        return ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(PRIVATE_ENDS)


def networks(values: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses and networks; raises `ValueError`."""
    for value in values:
        try:
            ip_network(value)
        except ValueError:
            raise ValueError("must be addresses or networks like 10.1.0.0/16, by commas") from None
    return values


def origins(values: tuple[str, ...]) -> tuple[str, ...]:
    """Origins as browsers send them, or `*` alone; raises `ValueError`."""
    if values == ("*",):
        return values
    for value in values:
        if not is_url(value, {"http", "https"}) or value != _origin(value) or value.endswith("/"):
            raise ValueError("must be origins like https://app.example.com, by commas, or * alone")
    return values


def _origin(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return "" if "*" in host else f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def hosts(values: tuple[str, ...]) -> tuple[str, ...]:
    """Names of hosts, without a port; `*.example.com` is all below it. Raises `ValueError`."""
    if not all(HOST.fullmatch(value) for value in values):
        raise ValueError("must be names like api.example.com or *.example.com, by commas, without a port")
    return values


def _blank_is_none(value: object) -> object:
    """`NAME=` in a file means "not set"."""
    return None if value == "" else value


def _names(value: object) -> object:
    """`a, b` in a setting is the list of both."""
    return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value


def _first_interval(value: object) -> object:
    """`JOB_RETRY_INTERVALS=60,120,240` of other services: the first is our base, doubling does the rest."""
    return value.split(",")[0].strip() if isinstance(value, str) else value


OptionalStr = Annotated[str | None, BeforeValidator(_blank_is_none)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_blank_is_none)]
OptionalPath = Annotated[Path | None, BeforeValidator(_blank_is_none)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
Networks = Annotated[Names, AfterValidator(networks)]
OptionalInt = Annotated[int | None, BeforeValidator(_blank_is_none)]
FirstInterval = BeforeValidator(_first_interval)
