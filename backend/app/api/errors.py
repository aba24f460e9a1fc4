"""Errors on the wire: `application/problem+json` (RFC 9457), and the only place that knows status numbers.

One door says its errors as the service did that it stands in for: `compat.removebg_errors` words them anew.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from app.api.compat import removebg_errors, removebg_limits
from app.core.errors import (
    AppError,
    Conflict,
    Forbidden,
    Gone,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    RejectedImage,
    ServiceUnavailable,
    TooManyRequests,
)
from app.core.logging import get_logger
from app.core.validation import sentence

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "5"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NO_ROOM = "There is no room left on the disk of the database. Nothing can be taken in until there is."
DISK_FULL = "53100"  # SQLSTATE
READ_ONLY = "25006"  # SQLSTATE of a server that another one has taken the place of

# The class of an error decides its status, unless its code is named here.
STATUS_OF_CLASS: dict[type[AppError], int] = {
    RejectedImage: 422,
    InvalidRequest: 422,
    NotAuthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    Gone: 410,
    TooManyRequests: 429,
    ServiceUnavailable: 503,
}
STATUS_OF_CODE = {
    "file_too_large": 413,
    "unsupported_format": 415,
    "unsupported_media_type": 415,
    "malformed_body": 400,
    "malformed_idempotency_key": 400,
}
CODE_OF_STATUS = {
    400: "malformed_body",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "upload_too_slow",
    413: "body_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    422: "invalid_request",
}
# What any route may answer, whatever it does, any that takes a body, and any that asks who is calling.
ANYWHERE = (400, 408, 431, 500, 503)
WITH_BODY = (413,)
WITH_CREDENTIALS = (401, 403, 429)
HEADERS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}
LIMIT_HEADERS = ("RateLimit", "RateLimit-Policy")  # of every answer to a known caller
# Python 3.13 has these by their names of today, older ones do not.
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
SENTENCES = {
    404: "There is nothing at this address.",
    405: "This address does not answer that method.",
    413: "The request is larger than this address accepts.",
    415: "This address expects a body of the type application/json.",
    416: "There is no such part of this file.",
    500: "Something went wrong on our side. It has been logged under this request id.",
}

log = get_logger(__name__)


class Problem(BaseModel):
    """What every error answers."""

    type: str = Field("about:blank", examples=["about:blank"])
    title: str = Field(examples=["Content Too Large"])
    status: int = Field(examples=[413])
    detail: str = Field(examples=["File size (12.5MB) exceeds maximum (10MB)"], description="A sentence to act on.")
    code: str = Field(examples=["file_too_large"], description="Stable; for programs.")
    request_id: str = Field(examples=["0b1c2d3e4f"])
    errors: list[dict[str, Any]] | None = Field(None, description="Each wrong field, where there are several.")


def document(
    status: int, code: str, detail: str, request_id: str, errors: list[dict[str, Any]] | None = None
) -> Problem:
    """A problem, with the title of its status."""
    title = TITLES.get(status) or HTTPStatus(status).phrase
    return Problem(title=title, status=status, detail=detail, code=code, request_id=request_id, errors=errors)


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: list[dict[str, Any]] | None = None,
) -> JSONResponse:
    if (task_id := getattr(request.state, "task_id", None)) is not None:
        headers = {**(headers or {}), "X-Task-Id": str(task_id)}
    if removebg_errors.concerns(request.url.path):
        return removebg_errors.answer(request, status, code, detail, headers)
    body = document(status, code, detail, getattr(request.state, "request_id", ""), errors)
    return JSONResponse(body.model_dump(exclude_none=True), status, headers, media_type=MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for its description."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {
            "description": TITLES.get(status) or HTTPStatus(status).phrase,
            "content": content,
            "headers": _headers(*HEADERS.get(status, ())),
        }
        for status in statuses
    }


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"schema": {"type": "string"}} for name in names}


def status_of(error: AppError) -> int:
    if error.code in STATUS_OF_CODE:
        return STATUS_OF_CODE[error.code]
    return next((status for kind, status in STATUS_OF_CLASS.items() if isinstance(error, kind)), 500)


async def _app_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AppError)  # noqa: S101 (registered for this class)
    status = status_of(error)
    if status == 500:
        log.error("unmapped_error", error_code=error.code, exc_info=error)
        return problem(request, 500, "internal_error", SENTENCES[500])
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    if isinstance(error, ServiceUnavailable | TooManyRequests):
        headers = {"Retry-After": str(error.retry_after)}
    if isinstance(error, TooManyRequests) and removebg_errors.concerns(request.url.path):
        headers = removebg_limits.reached(error)
    return problem(request, status, error.code, error.message, headers=headers)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for this class)
    code = CODE_OF_STATUS.get(error.status_code, "http_error")
    detail = SENTENCES.get(error.status_code, str(error.detail))
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
    return problem(request, error.status_code, code, detail, headers=headers)


def _allowed(request: Request) -> str:
    """Every method that the address answers; a route by itself knows its own alone."""
    asked = {"type": "http", "path": request.scope["path"], "headers": []}
    routes: list[BaseRoute] = request.app.router.routes
    found = [
        method
        for method in METHODS
        if any(route.matches({**asked, "method": method})[0] is Match.FULL for route in routes)
    ]
    return ", ".join([*found, *(["HEAD"] if "GET" in found else [])])


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (registered for this class)
    found = list(error.errors())
    if found[0]["loc"] == ("body",) and isinstance(error.body, bytes) and error.body:
        return problem(request, 415, "unsupported_media_type", SENTENCES[415])  # for JSON, it would have been read
    # Without what was sent: it may be a password or a megabyte.
    listed = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in found]
    if found[0]["type"] == "json_invalid":
        return problem(request, 400, "malformed_body", sentence(found, quote=False))
    in_body = found[0]["loc"][:1] == ("body",)
    return problem(request, 422, "invalid_request", sentence(found, quote=not in_body), errors=listed)


async def _unstorable(request: Request, error: Exception) -> JSONResponse:
    # NUL characters above all, which no text of the database can hold.
    log.warning("value_refused", error=type(error).__name__)
    return problem(request, 422, "invalid_request", "The request has a character or a number that cannot be kept.")


async def _database_error(request: Request, error: Exception) -> JSONResponse:
    log.warning("database_failed", error=type(error).__name__)
    lost = isinstance(error, OperationalError | InterfaceError | PoolTimeout) or (
        isinstance(error, DBAPIError)
        and (error.connection_invalidated or getattr(error.orig, "sqlstate", None) == READ_ONLY)
    )
    if getattr(getattr(error, "orig", None), "sqlstate", None) == DISK_FULL:
        return problem(request, 503, "no_space", NO_ROOM, headers={"Retry-After": RETRY_AFTER})
    if not lost:
        raise error
    return problem(
        request,
        503,
        "database_unavailable",
        "The database cannot be reached just now. Please try again in a moment.",
        headers={"Retry-After": RETRY_AFTER},
    )


def install(app: FastAPI) -> None:
    """Answer every error with a problem document, and describe that document in the schema."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        schema = describe()
        schema["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        schema["components"]["schemas"] |= removebg_errors.schemas()
        paths = schema["paths"].items()
        for path, operation in ((path, operation) for path, item in paths for operation in item.values()):
            everywhere = [*ANYWHERE, *(WITH_BODY if "requestBody" in operation else ())]
            everywhere += WITH_CREDENTIALS if "security" in operation else ()
            described = {str(status): said for status, said in responses(*everywhere).items()}
            operation["responses"] = dict(sorted((described | operation["responses"]).items()))
            if "security" in operation:
                for answer in operation["responses"].values():
                    answer["headers"] = answer.get("headers", {}) | _headers(*LIMIT_HEADERS)
            if removebg_errors.concerns(path):
                operation["responses"] = removebg_errors.described(operation["responses"])
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the schema
    app.add_exception_handler(AppError, _app_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(DBAPIError, _database_error)
    app.add_exception_handler(DataError, _unstorable)
    app.add_exception_handler(PoolTimeout, _database_error)
