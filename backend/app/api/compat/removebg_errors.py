"""What is answered under `/v1.0/` when something is wrong: remove.bg's own document, titles and statuses.

`api.errors.problem` writes every error there is, and asks here how this door says it. Their clients show the title, so
what they had no title for has our sentence there.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app.core.config import MIB, Settings

PREFIX = "/v1.0/"
JSON = "application/json"
MEDIA_TYPE = "application/json; charset=utf-8"  # as they wrote it, although JSON knows no charset
RETRY_AFTER = "5"  # seconds, where an error of ours says nothing better

NO_IMAGE = "Please provide the source image in the image_url, image_file or image_file_b64 parameter."
# Theirs, word for word.
TITLES = {
    "file_too_large": "File too large",
    "missing_source": "No image given",
    "multiple_sources": "Multiple image sources given: Please provide either the image_url, image_file or"
    " image_file_b64 parameter.",
    "invalid_image_url": "Invalid image_url: Please provide a valid URL.",
    "failed_image_download": "Failed to download image from given image_url: {detail}",
    "failed_to_read_image": "There was an error reading the image.",
    "invalid_file_type": "Invalid file type",
    "invalid_dimensions": "Failed to read image dimensions",
    "resolution_too_high": "Image resolution too high",
    "unknown_foreground": "Could not identify foreground in image. For details and recommendations see"
    " https://www.remove.bg/supported-images.",
    "invalid_size": "Invalid value for parameter 'size'",
    "invalid_channels": "Invalid value for parameter 'channels'",
    "roi_exceeds_bounds": "ROI exceeds image bounds",
    "roi_region_empty": "ROI region is empty",
    "multiple_bg_sources": "Multiple background sources given: Please provide either the bg_color, the bg_image_url or"
    " the bg_image_file parameter.",
    "insufficient_credits": "Insufficient credits",
    "rate_limit_exceeded": "Rate limit exceeded",
    # Theirs are not known; these are like them.
    "invalid_bg_image_url": "Invalid bg_image_url: Please provide a valid URL.",
    "failed_bg_download": "Failed to download background image from given bg_image_url: {detail}",
} | {
    f"invalid_{name}": f"Invalid {name} parameter given"
    for name in (
        *("format", "roi", "scale", "position", "crop", "crop_margin", "semitransparency", "bg_color"),
        *("type", "type_level", "shadow_type", "shadow_opacity", "add_shadow"),
    )
}
# Our codes, and what they are called there.
CALLED = {
    "body_too_large": "file_too_large",
    "file_missing": "missing_source",
    "several_images": "multiple_sources",
    "invalid_url": "invalid_image_url",
    "url_not_fetched": "failed_image_download",
    "url_ingest_disabled": "failed_image_download",
    "background_not_usable": "failed_bg_download",
    "unsupported_format": "invalid_file_type",
    "dimensions_too_large": "resolution_too_high",
    "dimensions_too_small": "invalid_dimensions",
    "file_empty": "failed_to_read_image",
    "image_corrupt": "failed_to_read_image",
    "image_truncated": "failed_to_read_image",
    "image_too_complex": "failed_to_read_image",
    "invalid_image": "failed_to_read_image",
    "rate_limited": "rate_limit_exceeded",
    "too_many_active_tasks": "rate_limit_exceeded",
    "quota_exceeded": "insufficient_credits",
}
# A wrong value is a bad request, and there is one refusal of who is calling. 413: larger than an image may be.
STATUS = {401: 403, 413: 400, 422: 400}
PAID = 402
NO_KEY, WRONG_KEY, AUTH_FAILED = "Missing API Key", "API Key invalid", "auth_failed"
OF_THE_CALLER = frozenset({"not_authenticated", "token_expired", "forbidden", "insufficient_scope", "account_disabled"})


class RemoveBgError(BaseModel):
    title: str = Field(examples=["File too large"], description="A sentence for a person.")
    code: str = Field(examples=["file_too_large"], description="Stable; for programs.")
    detail: str | None = Field(None, examples=["File exceeds limit of 10MB"])


class RemoveBgErrors(BaseModel):
    """What every error under `/v1.0/` answers; there is always one."""

    errors: list[RemoveBgError] = Field(min_length=1)


def concerns(path: str) -> bool:
    """Whether the address is one of this door."""
    return path.startswith(PREFIX)


def answer(
    request: Request, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The error, which is ours by its status, code and sentence, as this door says it."""
    status, error = _said(request, status, code, detail)
    body = RemoveBgErrors(errors=[error]).model_dump(exclude_none=True)
    sent = {name: value for name, value in (headers or {}).items() if name.lower() != "www-authenticate"}
    if status == PAID:
        sent.pop("Retry-After", None)  # theirs had it for what is over in a minute
    if status >= 500:
        sent.setdefault("Retry-After", RETRY_AFTER)
    return JSONResponse(body, status, sent, media_type=MEDIA_TYPE)


def schemas() -> dict[str, Any]:
    """What the description of the API calls it."""
    schema = RemoveBgErrors.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), RemoveBgErrors.__name__: schema}


def described(responses: Mapping[str, Any]) -> dict[str, Any]:
    """The answers of an operation of this door, whose errors are described as our own."""
    found: dict[str, Any] = {}
    for status, said in responses.items():
        if int(status) < 400:
            found[status] = said
            continue
        content = {JSON: {"schema": {"$ref": f"#/components/schemas/{RemoveBgErrors.__name__}"}}}
        found.setdefault(str(STATUS.get(int(status), int(status))), {**said, "content": content})
        if status == "429":  # a month without pictures is one of these elsewhere
            found[str(PAID)] = {**found[status], "description": HTTPStatus(PAID).phrase}
    return dict(sorted(found.items()))


def _said(request: Request, status: int, code: str, detail: str) -> tuple[int, RemoveBgError]:
    if code in OF_THE_CALLER:
        title = WRONG_KEY if _shows_a_key(request) else NO_KEY
        return 403, RemoveBgError(title=title, code=AUTH_FAILED, detail=detail)
    code = CALLED.get(code, code)
    if code not in TITLES:
        return STATUS.get(status, status), RemoveBgError(title=detail, code=code)
    title = TITLES[code]
    if "{detail}" in title:
        return 400, RemoveBgError(title=title.format(detail=detail), code=code)
    status = {"insufficient_credits": PAID, "rate_limit_exceeded": 429}.get(code, 400)
    return status, RemoveBgError(title=title, code=code, detail=_detail(request, code, detail))


def _detail(request: Request, code: str, detail: str) -> str:
    settings: Settings = request.app.state.services.settings
    match code:
        case "missing_source":
            return NO_IMAGE
        case "file_too_large":
            return f"File exceeds limit of {settings.max_image_bytes / MIB:.4g}MB"
        case "resolution_too_high":
            most = settings.max_image_pixels // 100_000 / 10
            return f"{detail}. Maximum supported input resolution is {most:g} megapixels."
    return detail


def _shows_a_key(request: Request) -> bool:
    return bool(request.headers.get("x-api-key") or request.headers.get("authorization"))
