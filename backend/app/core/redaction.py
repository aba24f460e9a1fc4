"""What must never reach a log is taken out of every line, wherever in it it stands.

By the name of a field, and by the shape of a text: the query of a URL, the password in a connection string, tokens
and keys. An e-mail address becomes a short hash of itself, so that lines about one person can still be found.
"""

import hashlib
import re
from collections.abc import Mapping, MutableMapping, Set
from functools import lru_cache
from typing import Any

HIDDEN = "***"
DEPTH = 6  # of nested values; what lies deeper is left out
LONGEST = 16_384  # characters of one text

_NAMES = r"authorization|cookie|passw(?:or)?d|passphrase|token|secret|api[_-]?key|signature|credential|x[_-]amz[_-]"
_NAME = re.compile(_NAMES, re.IGNORECASE)
_VALUE = r"""(?:"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|[^\s,;&"'<>)\]}]+)"""

# In this order: what is hidden as a whole first. Every repetition that is not at the end of its pattern has a bound,
# and ends where the pattern could begin anew, so that no text, however it was made, takes long.
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    # `Authorization: Bearer …`, `Cookie: a=b; c=d`: to the end of the line or of the quotes.
    (
        re.compile(
            r"(?i)((?:authorization|cookie)\w{0,9}\\{0,9}[\"']?\s{0,9}[=:,]\s{0,9}(?:b?\\{0,9}[\"'])?)[^\r\n\"']+"
        ),
        rf"\1{HIDDEN}",
    ),
    # scheme://user:password@host, and scheme://token@host. A password may hold an @ of its own: up to the last one.
    (re.compile(r"(\w://)(?:(?!\w://)\S){1,500}@"), rf"\1{HIDDEN}@"),
    # Whatever comes after the ? or the # of an address, whole or from its path on.
    (re.compile(r"(\w://(?:(?!\w://)[^\s?#\"'<>]){0,1000}[?#])[^\s\"'<>]+"), rf"\1{HIDDEN}"),
    (re.compile(r"([^\s?\"'<>]\?)[\w.~%+\[\]-]+=[^\s\"'<>]*"), rf"\1{HIDDEN}"),
    # name=value, 'name': 'value', and the (b'name', b'value') of raw headers.
    (
        re.compile(
            rf"(?i)((?:{_NAMES})[\w-]{{0,40}}(?:\\{{0,9}}[\"']?\s{{0,9}}(?:=>|[=:])\s{{0,9}}|[\"'],\s{{0,9}})(?:b?\\{{0,9}}(?=[\"']))?){_VALUE}"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)\b(bearer)\s+[^\s\"',;]+"), rf"\1 {HIDDEN}"),
    (re.compile(r"eyJ[\w-]{5,}(?:\.[\w-]*)*"), HIDDEN),  # a JWT
    (re.compile(r"qbg_\w+"), f"qbg_{HIDDEN}"),  # an API key of ours
    (re.compile(r"whsec_[\w+/=-]+"), f"whsec_{HIDDEN}"),  # what webhooks are signed with
)
# A text without any of these has nothing that a pattern above would find. Most have none, and are looked through fast.
_TRACES = (
    *("://", "?", "eyj", "qbg_", "whsec_", "bearer", "authorization", "cookie", "passw", "passphrase", "token"),
    *("secret", "apikey", "api_key", "api-key", "signature", "credential", "x_amz_", "x-amz-", "x_amz-", "x-amz_"),
)
_LOCAL = r"\w.!#$%&*+?^`{|}~-"
_EMAIL = re.compile(rf"(?<![{_LOCAL}])[{_LOCAL}]+@[\w-]+(?:\.[\w-]+)+")


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """The processor for structlog: the last one before the line is written, so that tracebacks pass through it too."""
    return {_label(str(name)): _field(str(name), value, DEPTH) for name, value in event.items()}


def redacted(value: Any, depth: int = DEPTH) -> Any:
    """A value without its secrets. Containers stay what JSON knows; other objects become their text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _text(value)
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        return {_label(str(name)): _field(str(name), each, depth - 1) for name, each in value.items()}
    if isinstance(value, list | tuple | Set):
        return [redacted(each, depth - 1) for each in value]
    return _text(value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else repr(value))


def email_hash(address: str) -> str:
    """What stands for an e-mail address in a log."""
    return "email:" + hashlib.sha256(address.casefold().encode()).hexdigest()[:12]


def _field(name: str, value: Any, depth: int) -> Any:
    if value is not None and not isinstance(value, bool) and _is_secret(name):
        return HIDDEN
    return redacted(value, depth)


@lru_cache(4096)
def _is_secret(name: str) -> bool:
    return _NAME.search(name) is not None


@lru_cache(4096)
def _label(name: str) -> str:
    return _text(name)


def _text(text: str) -> str:
    if len(text) > LONGEST:
        text = text[:LONGEST] + "…"
    plain = text.lower()
    if any(trace in plain for trace in _TRACES):
        for shape, replacement in _SHAPES:
            text = shape.sub(replacement, text)
    return _EMAIL.sub(lambda found: email_hash(found[0]), text) if "@" in text else text
