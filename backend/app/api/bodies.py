"""Bodies that endpoints read by themselves, once they know who is calling."""

import json
from typing import TypeVar

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ValidationError

from app.core.config import MIB
from app.core.errors import InvalidRequest
from app.core.validation import sentence

T = TypeVar("T", bound=BaseModel)

JSON = "application/json"
MAX_JSON = 4 * MIB  # a thousand URLs, the longest that there are, and options


def is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == JSON


async def read_json(request: Request, model: type[T], *, most: int = MAX_JSON) -> T:
    """The body, of so many bytes at most; `InvalidRequest` for what is no JSON, or not of this kind."""
    if not is_json(request):
        message = f"This address expects a body of the type {JSON}."
        raise InvalidRequest(message, code="unsupported_media_type")
    try:
        return await run_in_threadpool(_read, await read_body(request, most=most), model)
    finally:
        let_go(request)


def let_go(request: Request) -> None:
    """What the request has sent is read and gone: others have its room, however long it still waits."""
    request.state.let_go()


async def read_body(request: Request, *, most: int) -> bytes:
    """All of it, of so many bytes at most."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413)
    return bytes(body)


def _read(body: bytes, model: type[T]) -> T:
    try:
        return model.model_validate(json.loads(body))
    except ValidationError as error:
        raise InvalidRequest(sentence(error.errors(), quote=False)) from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The body is no JSON that can be read.", code="malformed_body") from error
