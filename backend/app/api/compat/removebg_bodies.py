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
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from app.api.bodies import JSON, let_go, read_body
from app.api.v1.uploads import FORMS, MAX_FIELDS, open_form
from app.core.errors import InvalidRequest, RejectedImage
from app.outbound.urls import InvalidUrl, read_url
from app.services.imports import ImageUrl, SentFile, Source

SOURCES = ("image_file", "image_file_b64", "image_url")
FILES = ("image_file", "bg_image_file")  # that are files, however they are sent
MAX_FILES = 8
MAX_MARKS = 1000  # of JSON: commas and brackets, of which base64 has none
PIECE = 65_536

_DATA_URL = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_SPACE = b" \t\r\n\v\f"


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
            yield await run_in_threadpool(read, await read_body(request, most=most))
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
    """With or without the beginning of a data URL, and with white space anywhere."""
    start = _DATA_URL.match(text)
    try:
        packed = text[start.end() if start else 0 :].encode("ascii").translate(None, _SPACE)
        return base64.b64decode(packed, validate=True)
    except (UnicodeError, binascii.Error) as error:
        raise RejectedImage("The text in image_file_b64 is not base64.", code="failed_to_read_image") from error


def _of_form(form: FormData) -> Sent:
    texts: dict[str, str] = {}
    files: dict[str, SentFile] = {}
    for name, value in form.multi_items():
        if isinstance(value, str) and name not in FILES:
            texts[name] = value
        elif name in FILES:  # sent without a name it is a text to the framework
            files[name] = SentFile(io.BytesIO(_bytes(value)), None) if isinstance(value, str) else _file(value)
    unchosen = {name for name, each in files.items() if not each.filename and not each.file.read(1)}
    for each in files.values():
        each.file.seek(0)
    return Sent(_told(texts.items()), {name: each for name, each in files.items() if name not in unchosen})


def _file(upload: UploadFile) -> SentFile:
    return SentFile(upload.file, upload.filename)


def _bytes(text: str) -> bytes:
    """The framework takes what is no text for Latin-1."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


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
    return {name: value for name, value in dict(pairs).items() if value and not value.isspace() and name not in FILES}
