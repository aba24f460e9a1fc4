"""What is wrong under `/v1.0/` is said as remove.bg said it: by the endpoints, the handlers and the layers around."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from app.api.compat.removebg_errors import MEDIA_TYPE, TITLES
from app.api.middleware import EXPOSED
from app.core.config import Settings
from app.core.errors import AppError, InvalidRequest, RejectedImage, ServiceUnavailable
from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from app.services import usage as usage_service
from app.services.identity import Scope
from app.storage.memory import MemoryStore
from tests.api.conftest import bearer
from tests.conftest import make_settings
from tests.doors.people import a_person, dead_credentials
from tests.pictures import encoded, subject

ACCOUNT, IMPROVE = "/v1.0/account", "/v1.0/improve"
ORIGIN = {"Origin": "https://shop.example.com"}
FILE = {"image_file": ("cup.jpg", encoded())}
SENTENCE = "What was sent does not fit."
Open = Callable[..., TestClient]


@pytest.fixture
def open_api(environment: dict[str, str], sessions: Sessions) -> Iterator[Open]:
    """An API with these settings, and an anonymous client of it."""
    with ExitStack() as stack:

        def open_api(**changes: Any) -> TestClient:
            made = make_settings(environment, **({"improve_enabled": True} | changes))
            app = create_app(made, store=MemoryStore())
            return stack.enter_context(TestClient(app, follow_redirects=False, raise_server_exceptions=False))

        yield open_api


@pytest.fixture
def anonymous(open_api: Open) -> TestClient:
    return open_api()


@pytest.fixture
def client(anonymous: TestClient, settings: Settings, user: User) -> TestClient:
    anonymous.headers.update(bearer(settings, user.id))
    return anonymous


def error(answer: httpx2.Response, status: int) -> dict[str, str]:
    """The one error of the answer."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE), answer.text
    assert answer.headers["x-request-id"]
    assert "www-authenticate" not in answer.headers
    body = answer.json()
    assert set(body) == {"errors"}
    (found,) = body["errors"]
    assert {"title", "code"} <= set(found) <= {"title", "code", "detail"}
    assert all(found.values())
    return dict(found)


# ---- who is calling


def test_without_a_key(anonymous: TestClient) -> None:
    for answer in (anonymous.get(ACCOUNT), anonymous.post(IMPROVE, files=FILE)):
        found = error(answer, 403)
        assert (found["title"], found["code"]) == ("Missing API Key", "auth_failed")
    assert error(anonymous.get(ACCOUNT, headers={"X-Api-Key": ""}), 403)["title"] == "Missing API Key"


def test_with_a_key_that_opens_nothing(anonymous: TestClient, settings: Settings, sessions: Sessions) -> None:
    wrong = dead_credentials(settings, sessions)
    assert wrong.pop("nothing") == {}
    for name, headers in wrong.items():
        found = error(anonymous.get(ACCOUNT, headers=headers), 403)
        assert (found["title"], found["code"]) == ("API Key invalid", "auth_failed"), name


def test_with_a_key_for_something_else(anonymous: TestClient, settings: Settings, sessions: Sessions) -> None:
    key = a_person(settings, sessions).key([Scope.READ])
    assert anonymous.get(ACCOUNT, headers=key).status_code == 200
    assert error(anonymous.post(IMPROVE, headers=key, files=FILE), 403) == {
        "title": "API Key invalid",
        "code": "auth_failed",
        "detail": "This API key may not do this: it lacks the scope write.",
    }


# ---- what is sent


@pytest.mark.parametrize(
    ("data", "title", "code", "detail"),
    [
        (b"", "There was an error reading the image.", "failed_to_read_image", "File is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "There was an error reading the image.", "failed_to_read_image", "damaged"),
        (encoded()[:60], "There was an error reading the image.", "failed_to_read_image", ""),
        (b"GIF89a" + bytes(40), "Invalid file type", "invalid_file_type", "GIF"),
        (b"no picture at all", "Invalid file type", "invalid_file_type", "nsupported image format"),
        (encoded(subject(40, 40)), "Failed to read image dimensions", "invalid_dimensions", "too small (min 50x50)"),
        (
            encoded(subject(600, 60)),
            "Image resolution too high",
            "resolution_too_high",
            "Image dimensions too large (max 512x512). Maximum supported input resolution is 0.2 megapixels.",
        ),
        (encoded() + bytes(200_000), "File too large", "file_too_large", "File exceeds limit of 0.125MB"),
    ],
)
def test_of_pictures(
    open_api: Open, settings: Settings, user: User, data: bytes, title: str, code: str, detail: str
) -> None:
    client = open_api(max_image_side=512, max_image_pixels=512 * 512, max_image_bytes=131_072)
    answer = client.post(IMPROVE, headers=bearer(settings, user.id), files={"image_file": ("a.jpg", data)})
    found = error(answer, 400)
    assert (found["title"], found["code"]) == (title, code)
    assert detail in found["detail"]


def test_of_bodies_that_are_far_too_large(client: TestClient) -> None:
    files = {"image_file": ("a.jpg", bytes(25_000_000))}
    assert error(client.post(IMPROVE, files=files), 400) == {
        "title": "File too large",
        "code": "file_too_large",
        "detail": "File exceeds limit of 10MB",
    }


@pytest.mark.parametrize(
    ("sent", "title", "code", "detail"),
    [
        (
            {"data": {"tag": "cup"}},
            "No image given",
            "missing_source",
            "Please provide the source image in the image_url, image_file or image_file_b64 parameter.",
        ),
        (
            {"files": FILE, "data": {"image_url": "https://example.com/a.jpg"}},
            "Multiple image sources given: Please provide either the image_url, image_file or image_file_b64"
            " parameter.",
            "multiple_sources",
            "",
        ),
        (
            {"json": {"image_url": "ftp://example.com"}},
            "Invalid image_url: Please provide a valid URL.",
            "invalid_image_url",
            "http://",
        ),
        (
            {"json": {"image_file_b64": "no*base64"}},
            "There was an error reading the image.",
            "failed_to_read_image",
            "base64",
        ),
    ],
)
def test_of_sources(client: TestClient, sent: dict[str, Any], title: str, code: str, detail: str) -> None:
    found = error(client.post(IMPROVE, **sent), 400)
    assert (found["title"], found["code"]) == (title, code)
    assert detail in found["detail"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_body"),
        (b"[]", "application/json", 400, "malformed_body"),
        (b"--", "multipart/form-data", 400, "malformed_body"),
        (b"<a/>", "text/xml", 415, "unsupported_media_type"),
        (b"tag=a", "application/x-www-form-urlencoded; charset=utf-16", 415, "unsupported_charset"),
    ],
)
def test_of_bodies(client: TestClient, content: bytes, kind: str, status: int, code: str) -> None:
    found = error(client.post(IMPROVE, content=content, headers={"Content-Type": kind}), status)
    assert found["code"] == code
    assert found["title"].endswith(".")


# ---- the table of their codes, as an endpoint raises them

PLAIN = {
    "failed_to_read_image": "There was an error reading the image.",
    "invalid_dimensions": "Failed to read image dimensions",
    "unknown_foreground": "Could not identify foreground in image. For details and recommendations see"
    " https://www.remove.bg/supported-images.",
    "invalid_size": "Invalid value for parameter 'size'",
    "invalid_channels": "Invalid value for parameter 'channels'",
    "invalid_format": "Invalid format parameter given",
    "invalid_roi": "Invalid roi parameter given",
    "invalid_scale": "Invalid scale parameter given",
    "invalid_position": "Invalid position parameter given",
    "invalid_crop_margin": "Invalid crop_margin parameter given",
    "invalid_semitransparency": "Invalid semitransparency parameter given",
    "invalid_bg_color": "Invalid bg_color parameter given",
    "roi_exceeds_bounds": "ROI exceeds image bounds",
    "roi_region_empty": "ROI region is empty",
    "multiple_bg_sources": "Multiple background sources given: Please provide either the bg_color, the bg_image_url"
    " or the bg_image_file parameter.",
    "invalid_bg_image_url": "Invalid bg_image_url: Please provide a valid URL.",
    "invalid_image_url": "Invalid image_url: Please provide a valid URL.",
    "multiple_sources": "Multiple image sources given: Please provide either the image_url, image_file or"
    " image_file_b64 parameter.",
}
OURS = {
    "url_not_fetched": ("failed_image_download", f"Failed to download image from given image_url: {SENTENCE}"),
    "url_ingest_disabled": ("failed_image_download", f"Failed to download image from given image_url: {SENTENCE}"),
    "failed_bg_download": (
        "failed_bg_download",
        f"Failed to download background image from given bg_image_url: {SENTENCE}",
    ),
    "image_too_complex": ("failed_to_read_image", PLAIN["failed_to_read_image"]),
    "invalid_image": ("failed_to_read_image", PLAIN["failed_to_read_image"]),
    "invalid_option": ("invalid_option", SENTENCE),
}


def raising(client: TestClient, *errors: AppError, task_id: object = None) -> Iterator[httpx2.Response]:
    """What the client is answered where an endpoint of this door raises these."""
    app = client.app
    assert isinstance(app, FastAPI)

    @app.get("/v1.0/raising/{index}")
    def raise_it(request: Request, index: int) -> None:
        if task_id is not None:
            request.state.task_id = task_id
        raise errors[index]

    for index in range(len(errors)):
        yield client.get(f"/v1.0/raising/{index}")


def test_every_code_of_theirs_has_their_title(anonymous: TestClient) -> None:
    said = [error(each, 400) for each in raising(anonymous, *(InvalidRequest(SENTENCE, code=code) for code in PLAIN))]
    assert said == [{"title": title, "code": code, "detail": SENTENCE} for code, title in PLAIN.items()]
    assert set(PLAIN) < set(TITLES)


def test_our_codes_have_theirs(anonymous: TestClient) -> None:
    answers = raising(anonymous, *(RejectedImage(SENTENCE, code=code) for code in OURS))
    said = [(each["code"], each["title"]) for each in (error(answer, 400) for answer in answers)]
    assert said == list(OURS.values())


def test_what_is_our_fault_can_be_asked_again(anonymous: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    task_id = uuid4()
    late = ServiceUnavailable("It takes longer.", code="still_processing", retry_after=7)
    (answer,) = raising(anonymous, late, task_id=task_id)
    assert error(answer, 503) == {"title": "It takes longer.", "code": "still_processing"}
    assert (answer.headers["retry-after"], answer.headers["x-task-id"]) == ("7", str(task_id))


def test_a_crash_shows_no_inside(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr(usage_service.Usages, "look", crash)
    answer = client.get(ACCOUNT)
    assert error(answer, 500)["code"] == "internal_error"
    assert "inside" not in answer.text
    assert int(answer.headers["retry-after"]) > 0


def test_a_database_that_is_away(open_api: Open, settings: Settings, user: User) -> None:
    client = open_api(database_url="postgresql://a:b@127.0.0.1:9/c_test")
    answer = client.get(ACCOUNT, headers=bearer(settings, user.id))
    assert error(answer, 503)["code"] == "database_unavailable"
    assert int(answer.headers["retry-after"]) > 0


# ---- where nothing is, and what the layers around answer


def test_of_addresses_and_methods(client: TestClient) -> None:
    assert error(client.get("/v1.0/nothing"), 404) == {
        "title": "There is nothing at this address.",
        "code": "not_found",
    }
    answer = client.put(IMPROVE)
    assert (error(answer, 405)["code"], answer.headers["allow"]) == ("method_not_allowed", "POST")
    assert client.get("/v1.0").headers["content-type"] == "application/problem+json"
    assert client.head("/v1.0/nothing").content == b""


def test_of_hosts(open_api: Open) -> None:
    answer = open_api(trusted_hosts="api.example.com").get(ACCOUNT, headers={"Host": "evil.example.com"})
    assert error(answer, 400)["code"] == "unknown_host"


# ---- limits


def test_of_too_many_requests(open_api: Open, settings: Settings, user: User) -> None:
    client = open_api(rate_limit_reads_per_minute=2, rate_limit_megapixels_per_minute=50)
    client.headers.update(bearer(settings, user.id))
    for _ in range(2):
        answer = client.get(ACCOUNT)
        assert answer.status_code == 200
        assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]) == ("50", "50")
    refused = client.get(ACCOUNT)
    found = error(refused, 429)
    assert (found["title"], found["code"]) == ("Rate limit exceeded", "rate_limit_exceeded")
    wait = int(refused.headers["retry-after"])
    assert 1 <= wait <= 60
    assert (refused.headers["x-ratelimit-limit"], refused.headers["x-ratelimit-remaining"]) == ("2", "0")
    assert abs(int(refused.headers["x-ratelimit-reset"]) - time.time() - wait) < 5


def test_who_is_not_limited_is_told_nothing(client: TestClient) -> None:
    assert not [name for name in client.get(ACCOUNT).headers if name.startswith("x-ratelimit")]


# ---- pages of other origins


def test_pages_of_any_origin_may_call(client: TestClient) -> None:
    asked = ORIGIN | {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "accept, authorization, content-type, idempotency-key, x-api-key",
    }
    preflight = client.options(IMPROVE, headers=asked)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "*")
    for answer in (
        client.get(ACCOUNT, headers=ORIGIN),
        client.get("/v1.0/nothing", headers=ORIGIN),
        client.post(IMPROVE, headers=ORIGIN | {"X-Api-Key": "nonsense"}),
        client.post(IMPROVE, headers=ORIGIN, files={"image_file": ("a.jpg", bytes(25_000_000))}),
    ):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-expose-headers"] == ", ".join(EXPOSED)
        assert "access-control-allow-credentials" not in answer.headers
    assert client.get(ACCOUNT).headers["access-control-allow-origin"] == "*"  # as theirs, whoever asks
    assert "access-control-allow-origin" not in client.get("/livez", headers=ORIGIN).headers


@pytest.mark.parametrize("changes", [{"open_doors": True}, {"cors_origins": "https://b.example.com"}])
def test_unless_no_key_is_needed_or_others_are_named(open_api: Open, changes: dict[str, Any]) -> None:
    answer = open_api(**changes).get(ACCOUNT, headers=ORIGIN)
    assert "access-control-allow-origin" not in answer.headers


def test_named_pages_may_call_an_open_server(open_api: Open) -> None:
    client = open_api(open_doors=True, cors_origins=ORIGIN["Origin"])
    answer = client.get(ACCOUNT, headers=ORIGIN)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ORIGIN["Origin"])


# ---- the description


def test_the_description_knows_no_other_error(client: TestClient) -> None:
    schema = client.get("/api/v1/openapi.json").json()
    assert {"RemoveBgErrors", "RemoveBgError"} <= set(schema["components"]["schemas"])
    for path, item in schema["paths"].items():
        if not path.startswith("/v1.0/"):
            continue
        for operation in item.values():
            answers = {int(status): said for status, said in operation["responses"].items() if int(status) >= 400}
            assert {400, 402, 403, 429, 500, 503} <= set(answers)
            assert not {401, 413, 422} & set(answers)
            for said in answers.values():
                assert said["content"] == {
                    "application/json": {"schema": {"$ref": "#/components/schemas/RemoveBgErrors"}}
                }
