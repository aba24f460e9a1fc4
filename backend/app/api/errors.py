"""Errors on the wire: `application/problem+json` (RFC 9457), and the only place that knows status numbers."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

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
)
from app.core.logging import get_logger
from app.core.validation import sentence

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "5"
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
    ServiceUnavailable: 503,
}
STATUS_OF_CODE = {
    "file_too_large": 413,
    "unsupported_format": 415,
    "malformed_body": 400,
    "malformed_idempotency_key": 400,
}
CODE_OF_STATUS = {
    400: "malformed_body",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
}
# Python 3.13 has these by their names of today, older ones do not.
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
SENTENCES = {
    404: "There is nothing at this address.",
    405: "This address does not answer that method.",
    413: "The request is larger than this address accepts.",
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


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: list[dict[str, Any]] | None = None,
) -> JSONResponse:
    body = Problem(
        title=TITLES.get(status) or HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        request_id=getattr(request.state, "request_id", ""),
        errors=errors,
    )
    return JSONResponse(body.model_dump(exclude_none=True), status, headers, media_type=MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for its description."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


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
    if isinstance(error, ServiceUnavailable):
        headers = {"Retry-After": str(error.retry_after)}
    return problem(request, status, error.code, error.message, headers=headers)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for this class)
    code = CODE_OF_STATUS.get(error.status_code, "http_error")
    detail = SENTENCES.get(error.status_code, str(error.detail))
    return problem(request, error.status_code, code, detail, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (registered for this class)
    found = list(error.errors())
    # Without what was sent: it may be a password or a megabyte.
    listed = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in found]
    in_body = found[0]["loc"][:1] == ("body",)
    return problem(request, 422, "invalid_request", sentence(found, quote=not in_body), errors=listed)


async def _database_error(request: Request, error: Exception) -> JSONResponse:
    log.warning("database_failed", error=type(error).__name__)
    lost = isinstance(error, OperationalError | InterfaceError | PoolTimeout) or (
        isinstance(error, DBAPIError)
        and (error.connection_invalidated or getattr(error.orig, "sqlstate", None) == READ_ONLY)
    )
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
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the schema
    app.add_exception_handler(AppError, _app_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(DBAPIError, _database_error)
    app.add_exception_handler(PoolTimeout, _database_error)
