"""What somebody has sent to the addresses of remove.bg: a form of either kind, or JSON.

What is sent empty is not there, of what is sent twice the last counts, and numbers and booleans are as good as texts.
Large values are read in threads and in bounds: a picture may come as base64 in any of the three.
"""

import base64
import binascii
import io
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from app.api.bodies import JSON, let_go, read_body
from app.api.v1.uploads import FORMS, MAX_FIELDS, open_form
from app.core.config import MIB
from app.core.errors import InvalidRequest, RejectedImage
from app.outbound.urls import InvalidUrl, read_url
from app.services.imports import ImageUrl, SentFile, Source

SOURCES = ("image_file", "image_file_b64", "image_url")
FILES = ("image_file", "bg_image_file")  # that are files, however they are sent
MAX_FILES = 8
MAX_MARKS = 1000  # of JSON: commas and brackets, of which base64 has none
# What is larger is a picture, and so base64, which is ASCII and has few signs to be written in percents. A single
# other character makes four bytes of each; and of nothing but percents 20 MB take seven seconds.
LARGE = MIB
LARGE_ONES = CapacityLimiter(2)  # that are read at a time
OF_BASE64 = ((b"%2F", b"/"), (b"%2B", b"+"), (b"%3D", b"="))
PERCENTS = 8  # others: one of so many bytes, at most
PIECE = 65_536

_DATA_URL = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_SPACE = b" \t\r\n\v\f"
_PLAIN = bytes.maketrans(b"-_", b"+/")  # out of the alphabet that URLs have


@dataclass(frozen=True)
class Sent:
    """What there is, by its name."""

    texts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, SentFile] = field(default_factory=dict)


@asynccontextmanager
async def open_body(request: Request, *, most: int) -> AsyncIterator[Sent]:
    """The body, of so many bytes at most; its files are gone afterwards. Raises `InvalidRequest`, `HTTPException`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == FORMS[0]:
        async with open_form(request, max_files=MAX_FILES, max_part_size=most) as form:
            yield await run_in_threadpool(_of_form, form)
    elif kind in (FORMS[1], JSON):
        read = of_json if kind == JSON else of_query
        try:
            body = await read_body(request, most=most)
            yield await to_thread.run_sync(read, body, limiter=LARGE_ONES if len(body) > LARGE else None)
        finally:
            let_go(request)
    elif kind:
        message = f"This address expects a body of the type {FORMS[0]}, {FORMS[1]} or {JSON}."
        raise InvalidRequest(message, code="unsupported_media_type")
    else:
        yield Sent()


def read_source(sent: Sent) -> Source:
    """The one picture that was sent or named. Blocks; raises `InvalidRequest`, or `RejectedImage` for bad base64."""
    given = [name for name in SOURCES if name in sent.texts or name in sent.files]
    if not given:
        message = "Please provide the source image in the image_url, image_file or image_file_b64 parameter."
        raise InvalidRequest(message, code="missing_source")
    if len(given) > 1:
        raise InvalidRequest(f"There are {' and '.join(given)}: name one.", code="multiple_sources")
    match given[0]:
        case "image_url":
            return _url(sent.texts["image_url"].strip())
        case "image_file_b64":
            return SentFile(io.BytesIO(_of_base64(sent.texts["image_file_b64"])), None)
        case name:
            return sent.files[name]


def _url(text: str) -> ImageUrl:
    try:
        read_url(text)
    except InvalidUrl as error:
        raise InvalidRequest(error.message, code="invalid_image_url") from error
    return ImageUrl(text)


def _of_base64(text: str) -> bytes:
    """With or without the beginning of a data URL and the padding, in either alphabet, with white space anywhere."""
    start = _DATA_URL.match(text)
    try:
        packed = text[start.end() if start else 0 :].encode("ascii").translate(_PLAIN, _SPACE).rstrip(b"=")
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (UnicodeError, binascii.Error) as error:
        raise RejectedImage("The text in image_file_b64 is not base64.", code="failed_to_read_image") from error


def _of_form(form: FormData) -> Sent:
    texts: list[tuple[str, str]] = []
    files: dict[str, SentFile] = {}
    for name, value in form.multi_items():
        if name not in FILES:
            texts += [(name, value)] if isinstance(value, str) else []
            continue
        # Sent without a name it is a text to the framework.
        file = SentFile(io.BytesIO(_bytes(value)), None) if isinstance(value, str) else _file(value)
        if file.filename or file.file.read(1):  # else nobody has chosen one
            file.file.seek(0)
            files[name] = file
    return Sent(_told(texts), files)


def _file(upload: UploadFile) -> SentFile:
    return SentFile(upload.file, upload.filename)


def _bytes(text: str) -> bytes:
    """The framework takes what is no text for Latin-1."""
    with suppress(UnicodeEncodeError):
        data = text.encode("latin-1")
        try:
            data.decode()
        except UnicodeDecodeError:
            return data
    return text.encode()  # else it would have been read as what it is


def of_query(body: bytes) -> Sent:
    """A form of the kind that URLs have, in bounds. Blocks; raises `InvalidRequest`."""
    # Not the library's reader: it takes eighty times the room of a body that is written in percents alone.
    if body.count(b"&") >= MAX_FIELDS:
        raise InvalidRequest(f"The form has more than {MAX_FIELDS} fields.", code="malformed_body")
    pairs = (part.partition(b"=") for part in body.split(b"&"))
    return Sent(_told((_plain(name), _plain(value)) for name, _, value in pairs))


def _plain(quoted: bytes) -> str:
    """What was written with percents and pluses."""
    spaced = quoted.replace(b"+", b" ")
    for percent, sign in OF_BASE64:  # of which a picture that is all white has nothing else
        spaced = spaced.replace(percent, sign).replace(percent.lower(), sign)
    if len(spaced) > LARGE and spaced.count(b"%") > len(spaced) / PERCENTS:
        raise InvalidRequest("The form has more percents than a picture in base64 has.", code="malformed_body")
    return b"".join(map(unquote_to_bytes, _pieces(spaced))).decode("utf-8", "replace")


def _pieces(quoted: bytes) -> Iterator[bytes]:
    """Cut where no percent is cut off from its digits."""
    start = 0
    while start < len(quoted):
        end = start + PIECE
        if end < len(quoted) and (cut := quoted.rfind(b"%", end - 2, end)) >= 0:
            end = cut
        yield quoted[start:end]
        start = end


def of_json(body: bytes) -> Sent:
    """Likewise, an object."""
    try:
        if sum(map(body.count, (b",", b"[", b"{"))) > MAX_MARKS:  # empty lists take thirty times their text
            raise ValueError
        # Numbers as they are written: each parameter reads its own.
        members = json.loads(body, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The body is no JSON that can be read.", code="malformed_body") from error
    if not isinstance(members, dict):
        raise InvalidRequest("The body is not a JSON object.", code="malformed_body")
    return Sent(_told(_flat(members)))


def _flat(members: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """`{"shadow_type": {"car": "drop"}}` is `shadow_type[car]`, as in a form."""
    for name, value in members.items():
        inner = {f"{name}[{key}]": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
        for each, said in inner.items():
            yield each, said if isinstance(said, str) else "" if said is None else json.dumps(said)


def _told(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Clients send an empty text for each parameter that they do not use. A text is no file."""
    told = {name: value for name, value in pairs if value and not value.isspace() and name not in FILES}
    if wrong := next((name for name, value in told.items() if len(value) > LARGE and not value.isascii()), None):
        raise InvalidRequest(f"{wrong[:64]}: a text of this length is expected to be base64.", code="malformed_body")
    return told
