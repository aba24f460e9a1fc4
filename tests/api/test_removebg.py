"""`POST /v1.0/removebg`: all kinds of bodies, every parameter, every header."""

import base64
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.db.base import Sessions
from app.db.models import User
from tests.api.removebg import PICTURE, URL, door, make_bench, opened, refused, send, task_of
from tests.api.working import working
from tests.factories import row
from tests.outbound.sites import ok, saying, site
from tests.pictures import encoded
from tests.services.test_processing import Bench

B64 = base64.b64encode(PICTURE).decode()
JSON = {"Accept": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
BODY = {"Content-Type": "application/json"}
# As remove-bg-cli sends what it does not use.
UNUSED = (
    *("size", "type", "format", "roi", "crop", "crop_margin", "scale", "position", "channels", "bg_color"),
    *("bg_image_url", "add_shadow", "image_url"),
)
Open = Callable[..., TestClient]


@pytest.fixture
def bench(environment: dict[str, str], sessions: Sessions, tmp_path: Path) -> Bench:
    return make_bench(environment, sessions, tmp_path)


@pytest.fixture
def open_api(environment: dict[str, str], bench: Bench, user: User) -> Iterator[Open]:
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(door(environment, bench, user, **changes))


@pytest.fixture
def client(open_api: Open, bench: Bench) -> Iterator[TestClient]:
    with working(bench):
        yield open_api()


@pytest.fixture
def idle(open_api: Open) -> TestClient:
    """Nobody works; who waits is told so at once."""
    return open_api(drop_in_wait_seconds=0)


# ---- bodies


def part(name: str, value: bytes, rest: bytes = b"") -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name.encode(), rest, value)


def multipart(*parts: bytes) -> dict[str, Any]:
    return {"content": b"".join(parts) + b"--x--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}


BODIES: dict[str, dict[str, Any]] = {
    "a file": {"files": {"image_file": ("cup.png", PICTURE, "image/png")}},
    "a file of no known type": {"files": {"image_file": ("image_file", PICTURE)}},
    "a file without a name": multipart(part("image_file", PICTURE)),
    "a file with an empty name": multipart(part("image_file", PICTURE, b'; filename=""')),
    "a file whose part is a text": multipart(part("image_file", PICTURE, b"\r\nContent-Type: text/plain")),
    "base64 in a form of parts": {"files": {"image_file_b64": (None, B64)}},
    "base64 in a form": {"data": {"image_file_b64": B64}},
    "base64 in a form, all in percents": {
        "content": b"image_file_b64=" + "".join(f"%{ord(each):02x}" for each in B64).encode(),
        "headers": FORM,
    },
    "the last that is not empty": {
        "content": f"image_file_b64={quote_plus(B64)}&image_file_b64=".encode(),
        "headers": FORM,
    },
    "base64 as JSON": {"json": {"image_file_b64": B64}},
    "base64 as PHP writes it": {"content": json.dumps({"image_file_b64": B64}).replace("/", "\\/"), "headers": BODY},
    "a data URL": {"json": {"image_file_b64": f"data:image/png;base64,{B64}"}},
    "a data URL in a form": {"data": {"image_file_b64": f" data:image/png;charset=x;base64,{B64}"}},
    "base64 as URLs have it": {"json": {"image_file_b64": base64.urlsafe_b64encode(PICTURE).decode().rstrip("=")}},
    "base64 in lines": {"json": {"image_file_b64": base64.encodebytes(PICTURE).decode()}},
    "the last of two": multipart(part("image_file", b"no", b'; filename="a"'), part("image_file", PICTURE)),
    "with a file that nobody has chosen": multipart(
        part("image_file_b64", B64.encode()), part("image_file", b"", b'; filename=""')
    ),
    "with all that is not used": {
        "files": {"image_file": ("cup.png", PICTURE)},
        "data": dict.fromkeys(UNUSED, "") | {"image_file_b64": ""},
    },
    "as JSON with all that is not used": {"json": dict.fromkeys(UNUSED) | {"image_file_b64": B64, "image_file": ""}},
    "with what nobody knows": {
        "json": {"image_file_b64": B64, "recipe": "x", "webhook_url": 7, "a": [1], "b": {"c": 1}}
    },
}


@pytest.mark.parametrize("sent", BODIES.values(), ids=BODIES)
def test_all_kinds_of_bodies(client: TestClient, sent: dict[str, Any]) -> None:
    with opened(client.post(URL, **sent)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (577, 433))


@pytest.mark.parametrize("way", ["files", "data", "json"])
def test_by_its_url(client: TestClient, way: str) -> None:
    with site(saying(ok(PICTURE))) as near:
        fields: dict[str, Any] = {"image_url": near.url, "size": "full"}
        parts = {name: (None, value) for name, value in fields.items()}
        sent: dict[str, Any] = {way: parts if way == "files" else fields}
        with opened(client.post(URL, **sent)) as picture:
            assert picture.size == (640, 480)


WRONG: dict[str, tuple[dict[str, Any], tuple[int, str]]] = {
    "nothing": ({}, (400, "missing_source")),
    "an empty form": ({"data": {"size": "full"}}, (400, "missing_source")),
    "an empty object": ({"json": {}}, (400, "missing_source")),
    "an empty file": ({"files": {"image_file": ("a.png", b"")}}, (400, "failed_to_read_image")),
    "an image_file that is a text": ({"json": {"image_file": B64}}, (400, "missing_source")),
    "two": ({"json": {"image_file_b64": B64, "image_url": "https://example.com/a"}}, (400, "multiple_sources")),
    "two in parts": (
        {"files": {"image_file": ("a.png", PICTURE)}, "data": {"image_file_b64": B64}},
        (400, "multiple_sources"),
    ),
    "no URL": ({"data": {"image_url": "cup.jpg"}}, (400, "invalid_image_url")),
    "a URL that is a number": ({"json": {"image_url": 7}}, (400, "invalid_image_url")),
    "bad base64": ({"data": {"image_file_b64": "a*b"}}, (400, "failed_to_read_image")),
    "base64 that ends too soon": ({"json": {"image_file_b64": "a"}}, (400, "failed_to_read_image")),
    "base64 with letters of another": ({"json": {"image_file_b64": "äöüß"}}, (400, "failed_to_read_image")),
    "base64 of no picture": ({"json": {"image_file_b64": "aGVsbG8gd29ybGQh"}}, (400, "invalid_file_type")),
    "no picture": ({"files": {"image_file": ("a.png", b"hello world!")}}, (400, "invalid_file_type")),
    "a picture cut off": ({"files": {"image_file": ("a.png", PICTURE[:-300])}}, (400, "failed_to_read_image")),
    "no JSON": ({"content": b"{", "headers": BODY}, (400, "malformed_body")),
    "a list": ({"json": []}, (400, "malformed_body")),
    "too much JSON": ({"content": b"[" + b"[]," * 2000 + b"0]", "headers": BODY}, (400, "malformed_body")),
    "too many fields": ({"content": b"&" * 100, "headers": FORM}, (400, "malformed_body")),
    "another kind": ({"content": PICTURE, "headers": {"Content-Type": "image/png"}}, (415, "unsupported_media_type")),
}


@pytest.mark.parametrize(("sent", "expected"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_the_picture(client: TestClient, sent: dict[str, Any], expected: tuple[int, str]) -> None:
    assert refused(client.post(URL, **sent)) == expected


def test_what_cannot_be_fetched(client: TestClient) -> None:
    with site(saying(NOT_FOUND)) as near:
        answer = client.post(URL, data={"image_url": near.url})
    assert refused(answer) == (400, "failed_image_download")
    assert answer.headers["X-Task-Id"]
    with site(saying(NOT_FOUND)) as near:
        assert refused(send(client, bg_image_url=near.url)) == (400, "failed_bg_download")


def test_a_large_picture_in_each_way(open_api: Open, sessions: Sessions) -> None:
    """Nine megabytes: base64, and base64 in a form that has percents in it."""
    idle = open_api(drop_in_wait_seconds=0)
    large = PICTURE + b"\0" * (9 << 20)
    packed = base64.b64encode(large).decode()
    for sent in (
        {"json": {"image_file_b64": packed}},
        {"files": {"image_file_b64": (None, packed)}},
        {"content": f"size=full&image_file_b64={quote_plus(packed)}".encode(), "headers": FORM},
    ):
        answer = idle.post(URL, **sent)
        assert refused(answer) == (503, "still_processing"), answer.text
        assert row(sessions, task_of(answer)).upload.size_bytes == len(large)


def test_one_that_is_too_large(open_api: Open) -> None:
    client = open_api(drop_in_wait_seconds=0, max_image_bytes=1 << 20)
    for size in (1_100_000, 2_500_000):
        assert refused(send(client, PICTURE + b"\0" * size)) == (400, "file_too_large")
        packed = base64.b64encode(PICTURE + b"\0" * size).decode()
        assert refused(client.post(URL, json={"image_file_b64": packed})) == (400, "file_too_large")


# ---- backgrounds


def test_one_background_at_most(idle: TestClient) -> None:
    file = {"bg_image_file": ("wall.png", PICTURE)}
    url = {"bg_image_url": "https://example.com/a.png"}
    for fields, files in ((url | {"bg_color": "red"}, {}), (url, file), ({"bg_color": "red"}, file)):
        answer = idle.post(URL, files={"image_file": ("cup.png", PICTURE)} | files, data=fields)
        assert refused(answer) == (400, "multiple_bg_sources")


# ---- answers


@pytest.mark.usefixtures("client")
def test_every_header(open_api: Open) -> None:
    answer = send(open_api(rate_limit_megapixels_per_minute=500), size="full", format="png")
    told = answer.headers
    assert {name: told[name] for name in ("X-Width", "X-Height", "X-Max-Width", "X-Max-Height")} == {
        "X-Width": "640",
        "X-Height": "480",
        "X-Max-Width": "640",
        "X-Max-Height": "480",
    }
    assert (told["X-Type"], told["X-Credits-Charged"], told["Content-Type"]) == ("other", "1", "image/png")
    assert int(told["Content-Length"]) == len(answer.content)
    assert (told["X-RateLimit-Limit"], told["X-RateLimit-Remaining"]) == ("500", "499")
    assert int(told["X-RateLimit-Reset"]) > 1_700_000_000
    assert told["X-Task-Id"] in told["Content-Location"]
    assert "cup-cutout.png" in told["Content-Disposition"]
    assert {f"X-Foreground-{side}" for side in ("Top", "Left", "Width", "Height")} <= {
        "-".join(part.capitalize() for part in name.split("-")) for name in told
    }


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, "other"),
        ({"type": "person"}, "person"),
        ({"type": "car", "type_level": "1"}, "car"),
        ({"type": "graphic"}, "other"),
        ({"type": "graphic", "type_level": "2"}, "graphics"),
        ({"type": "transportation", "type_level": "latest"}, "transportation"),
        ({"type_level": "none"}, None),
    ],
)
def test_the_kind_is_what_the_caller_says(client: TestClient, asked: dict[str, Any], expected: str | None) -> None:
    assert send(client, **asked).headers.get("X-Type") == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ("image/png", "PNG", "RGBA")),
        ({"bg_color": "00f"}, ("image/jpeg", "JPEG", "RGB")),
        ({"bg_color": "00f", "format": "png"}, ("image/png", "PNG", "RGB")),
        ({"bg_color": "0000ff80"}, ("image/png", "PNG", "RGBA")),
        ({"format": "jpg"}, ("image/jpeg", "JPEG", "RGB")),
        ({"format": "webp"}, ("image/webp", "WEBP", "RGBA")),
        ({"channels": "alpha"}, ("image/png", "PNG", "L")),
    ],
)
def test_what_it_is_written_as(client: TestClient, asked: dict[str, Any], expected: tuple[str, str, str]) -> None:
    answer = send(client, **asked)
    with opened(answer) as picture:
        assert (answer.headers["Content-Type"], picture.format, picture.mode) == expected
        assert picture.size == (int(answer.headers["X-Width"]), int(answer.headers["X-Height"]))


def test_a_zip(client: TestClient) -> None:
    answer = send(client, format="zip", bg_color="red")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert [(each.filename, each.compress_type) for each in archive.infolist()] == [
            ("color.jpg", zipfile.ZIP_STORED),
            ("alpha.png", zipfile.ZIP_STORED),
        ]
        for name, kind in (("color.jpg", ("JPEG", "RGB")), ("alpha.png", ("PNG", "L"))):
            with Image.open(io.BytesIO(archive.read(name))) as picture:
                assert (picture.format, picture.mode) == kind
                assert picture.size == (int(answer.headers["X-Width"]), int(answer.headers["X-Height"]))


@pytest.mark.parametrize(
    ("accept", "as_json"),
    [
        ("*/*", False),
        ("", False),
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/json, text/plain, */*", False),  # axios, which is asked for bytes
        ("image/png, application/json;q=0.5", False),
        ("application/json, image/png;q=0.5", True),
        ("application/json;q=0", False),
        ("application/json;q=x", False),
        ("text/html", False),
        ("application/*", False),
    ],
)
def test_what_the_caller_would_rather_have(client: TestClient, accept: str, as_json: bool) -> None:
    answer = send(client, headers={"Accept": accept}, crop="true", format="png")
    assert answer.status_code == 200, answer.text
    assert (answer.headers["Content-Type"] == "application/json") == as_json
    assert answer.headers["X-Width"]


def test_as_json_it_is_the_same(client: TestClient) -> None:
    picture, answer = send(client), send(client, headers=JSON)
    told = answer.json()["data"]
    assert base64.b64decode(told.pop("result_b64"), validate=True) == picture.content
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert told == {
        f"foreground_{side}": int(picture.headers[f"X-Foreground-{side}"])
        for side in ("top", "left", "width", "height")
    }


def test_json_of_any_length(client: TestClient) -> None:
    for side in (50, 51, 52, 53, 900):
        noise = Image.effect_noise((side, side), 90).convert("RGB")
        answer = send(client, encoded(noise, "PNG"), JSON, format="png", size="full")
        data = base64.b64decode(answer.json()["data"]["result_b64"], validate=True)
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == (side, side)
        assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_with_a_background_of_the_callers_own(client: TestClient, bench: Bench) -> None:
    wall = encoded(Image.new("RGB", (60, 60), (0, 0, 250)), "PNG")
    files = {"image_file": ("cup.png", PICTURE), "bg_image_file": ("wall.png", wall)}
    answers = [client.post(URL, files=files, data={"format": "png"}) for _ in range(2)]
    with opened(answers[0]) as picture:
        assert picture.mode == "RGB"
        assert picture.getpixel((3, 3)) == (0, 0, 250)
    assert answers[0].content == answers[1].content
    (kept,) = [key for key in bench.store.objects if key.startswith("imports/")]
    assert bench.store.get(kept) == wall


def test_a_background_that_is_no_picture(idle: TestClient, bench: Bench) -> None:
    files = {"image_file": ("cup.png", PICTURE), "bg_image_file": ("wall.png", b"no picture")}
    assert refused(idle.post(URL, files=files)) == (400, "invalid_file_type")
    assert not bench.store.objects
    assert idle.post(URL, files=files, data={"format": "zip"}).status_code == 503  # which takes none


def test_an_api_key_or_a_token_or_neither(open_api: Open, user: User, bench: Bench) -> None:
    client = open_api(drop_in_wait_seconds=0)
    made = client.post("/api/v1/api-keys", json={"name": "shop"}).json()["key"]
    token = client.headers.pop("Authorization")
    assert refused(send(client, headers={"x-api-key": made}))[0] == 503
    assert refused(send(client, headers={"X-Api-Key": made}))[0] == 503
    assert refused(send(client, headers={"Authorization": token}))[0] == 503
    assert refused(send(client)) == (403, "auth_failed")
    guests = open_api(drop_in_wait_seconds=0, open_doors=True)
    del guests.headers["Authorization"]
    assert refused(send(guests)) == (503, "still_processing")
