"""rembg's address: every parameter of its server, what each comes to, and what is refused."""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import func, select

from app.db.base import Sessions
from app.db.models import Task, User
from app.main import create_app
from app.services.networks import OtherModels
from tests.api.conftest import bearer
from tests.api.working import working
from tests.conftest import make_settings
from tests.factories import row
from tests.outbound.sites import ok, saying, site
from tests.pictures import encoded, subject
from tests.services.test_networks import Disc
from tests.services.test_processing import Bench

DOOR = "/api/remove"
PICTURE = encoded(subject(200, 160))
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
NEAR = {"outbound_allowed_networks": "127.0.0.0/8", "extra_models": "u2net,birefnet-general"}
PLAIN = {"format": "png", "trim": False, "refine": False, "quality": "balanced", "operation": "remove-background"}
Open = Callable[..., TestClient]


@pytest.fixture
def bench(environment: dict[str, str], sessions: Sessions, tmp_path: Path) -> Bench:
    bench = Bench(make_settings(environment, **NEAR), sessions, tmp_path)
    bench.others = OtherModels({"u2net", "birefnet-general"}, lambda entry: Disc())
    return bench


@pytest.fixture
def open_api(environment: dict[str, str], bench: Bench, user: User) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_api(*, known: bool = True, **changes: Any) -> TestClient:
            made = make_settings(environment, **NEAR | changes)
            headers = bearer(made, user.id) if known else {}
            return stack.enter_context(TestClient(create_app(made, store=bench.store), headers=headers))

        yield open_api


@pytest.fixture
def client(open_api: Open) -> TestClient:
    return open_api()


@pytest.fixture
def worked(bench: Bench) -> Iterator[None]:
    with working(bench):
        yield


def post(client: TestClient, fields: dict[str, str] | None = None, query: dict[str, str] | None = None) -> Any:
    return client.post(DOOR, files={"file": ("cup.jpg", PICTURE)}, data=fields or {}, params=query or {})


def pixels(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def task_of(sessions: Sessions, answer: Any) -> Task:
    return row(sessions, UUID(answer.headers["X-Task-Id"]))


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.usefixtures("worked")
def test_a_plain_call_gives_rembgs_plain_cutout(client: TestClient, sessions: Sessions) -> None:
    answer = post(client)
    assert answer.headers["X-Model"] == "isnet-general-use"
    task = task_of(sessions, answer)
    assert PLAIN.items() <= task.options.items()
    ours = client.post(
        "/api/v1/remove-background",
        files={"file": ("cup.jpg", PICTURE)},
        data={"refine": "false", "trim": "false"},
    )
    assert pixels(answer).shape == (160, 200, 4)
    assert np.array_equal(pixels(answer), pixels(ours))


@pytest.mark.usefixtures("worked")
def test_by_url(client: TestClient, sessions: Sessions) -> None:
    with site(saying(ok(PICTURE))) as near:
        answer = client.get(DOOR, params={"url": near.url, "om": "true", "model": "u2net"})
        assert near.connections == 1
    assert pixels(answer).shape == (160, 200)
    assert answer.headers["X-Model"] == "u2net"
    with sessions.begin() as session:
        assert session.scalar(select(func.count()).select_from(Task)) == 1
    assert task_of(sessions, answer).options["operation"] == "mask"


@pytest.mark.usefixtures("worked")
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"a": "true", "af": "200", "ab": "20", "ae": "5"}, {"refine": True, "quality": "best"}),
        ({"vm": "1"}, {"refine": True, "quality": "best"}),
        ({"dc": "on"}, {"refine": True, "quality": "balanced"}),
        ({"ppm": "yes"}, {"refine": True, "quality": "balanced"}),
        ({"om": "true", "a": "true", "dc": "true", "vm": "true"}, {"operation": "mask", "refine": False}),
        ({"om": "true", "ppm": "true"}, {"operation": "mask", "refine": True, "quality": "balanced"}),
        ({"model": "birefnet-general"}, {"model": "birefnet-general"}),
        ({"model": "", "a": "", "af": "", "om": ""}, {"model": "isnet-general-use"}),
        ({"putalpha": "true", "bgc": "1,2,3,255"}, {"background": None}),
        ({"a": "0", "om": "false", "ppm": "off", "dc": "no", "vm": "f"}, {}),
    ],
)
def test_each_parameter_in_our_words(
    client: TestClient, sessions: Sessions, fields: dict[str, str], said: dict[str, Any]
) -> None:
    for answer in (post(client, fields), post(client, fields, {"bgc": "", "extras": "{}"})):
        assert pixels(answer).shape[:2] == (160, 200)
        assert (PLAIN | said).items() <= task_of(sessions, answer).options.items()


@pytest.mark.usefixtures("worked")
@pytest.mark.parametrize(
    ("colour", "corner"),
    [
        ("10,20,30,255", (10, 20, 30, 255)),
        ("10, 20, 30", (10, 20, 30, 255)),
        ("10,20,30,128", (10, 20, 30, 128)),
        ("0,0,0,0", (0, 0, 0, 0)),
    ],
)
def test_a_background(client: TestClient, colour: str, corner: tuple[int, ...]) -> None:
    sent = post(client, query={"bgc": colour})
    with site(saying(ok(PICTURE))) as near:
        named = client.get(DOOR, params={"url": near.url, "bgc": colour})
    for answer in (sent, named):
        found = pixels(answer)
        assert tuple(found[2, 2]) == corner[: found.shape[2]]
        assert found.shape[2] == (3 if corner[3] == 255 else 4)
        assert found[80, 100, 0] > 150
    masked = pixels(post(client, {"om": "true"}, {"bgc": colour}))
    assert masked.ndim == 2  # as in rembg, a mask has none


@pytest.mark.parametrize(
    ("fields", "query", "said"),
    [
        ({"model": "u3net"}, {}, "model: Input should be 'isnet-general-use', "),
        ({"model": "silueta"}, {}, "model: silueta is not switched on here; there is isnet-general-use, u2net, "),
        ({"a": "maybe"}, {}, "a: Input should be a valid boolean"),
        ({"af": "256"}, {}, "af: Input should be less than or equal to 255"),
        ({"ab": "-1"}, {}, "ab: Input should be greater than or equal to 0"),
        ({"ae": "many"}, {}, "ae: Input should be a valid integer"),
        ({}, {"bgc": "white"}, "bgc: R,G,B,A is expected"),
        ({}, {"bgc": "1,2,3,256"}, "bgc: R,G,B,A is expected"),
        ({}, {"bgc": "1,2,3,4,5"}, "bgc: R,G,B,A is expected"),
        ({}, {"extras": '{"putalpha": true}'}, "extras: there are no further parameters here"),
    ],
)
def test_a_wrong_parameter_is_named(
    client: TestClient, sessions: Sessions, fields: dict[str, str], query: dict[str, str], said: str
) -> None:
    sent = post(client, fields, query)
    named = client.get(DOOR, params={"url": "http://127.0.0.1:9/cup.jpg"} | fields | query)
    for answer in (sent, named):
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(said)
        assert "\n" not in answer.json()["detail"]
    with sessions.begin() as session:
        assert session.scalar(select(func.count()).select_from(Task)) == 0


def test_without_a_picture(client: TestClient) -> None:
    assert client.get(DOOR).status_code == client.get(DOOR, params={"url": ""}).status_code == 422
    assert refused(client.get(DOOR, params={"url": "ftp://x.example/a.png"})) == (422, "invalid_url")
    assert refused(client.post(DOOR, data={"om": "true"})) == (422, "file_missing")
    assert refused(client.post(DOOR, data={"file": "cup"})) == (422, "file_missing")
    assert refused(client.post(DOOR, files={"file": ("", b"")})) == (422, "file_missing")
    assert refused(client.post(DOOR, json={"file": "cup"})) == (415, "unsupported_media_type")
    assert refused(client.post(DOOR, files={"file": ("a.txt", b"no picture")})) == (415, "unsupported_format")


@pytest.mark.usefixtures("worked")
def test_what_cannot_be_fetched_is_said(client: TestClient) -> None:
    with site(saying(NOT_FOUND)) as near:
        assert refused(client.get(DOOR, params={"url": near.url})) == (422, "url_not_fetched")


@pytest.mark.usefixtures("worked")
def test_a_file_without_a_name_is_taken(client: TestClient) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n' + PICTURE + b"\r\n--b--\r\n"
    answer = client.post(DOOR, content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert pixels(answer).shape == (160, 200, 4)


def test_who_was_kept_waiting_asks_again_and_is_given_the_same_task(
    open_api: Open, bench: Bench, sessions: Sessions
) -> None:
    impatient, client = open_api(drop_in_wait_seconds=0), open_api()
    answer = post(impatient)
    assert refused(answer) == (503, "still_processing")
    assert answer.headers["Retry-After"]
    with working(bench):
        assert pixels(post(client)).shape == (160, 200, 4)
    with sessions.begin() as session:
        assert session.scalar(select(func.count()).select_from(Task)) == 1


def test_a_model_that_no_worker_has_is_no_fault_of_the_caller(open_api: Open, bench: Bench, sessions: Sessions) -> None:
    """Nor is he kept waiting for the attempt of a minute later."""
    bench.others = OtherModels()
    with working(bench):
        answer = post(open_api(), {"model": "u2net"})
    assert refused(answer) == (503, "model_unavailable")
    with sessions.begin() as session:
        task = session.scalars(select(Task)).one()
    assert (str(task.id), task.status, task.charged) == (answer.headers["X-Task-Id"], "failed", False)


def test_a_get_counts_as_what_it_is(open_api: Open) -> None:
    client = open_api(rate_limit_requests_per_minute=9, rate_limit_reads_per_minute=99)
    assert ";q=9;" in client.get(DOOR).headers["RateLimit-Policy"]
    assert ";q=99;" in client.get("/api/v1/tasks").headers["RateLimit-Policy"]


def test_strangers_only_where_the_doors_are_open(open_api: Open, bench: Bench) -> None:
    assert post(open_api(known=False)).status_code == 401
    assert open_api(known=False).get(DOOR, params={"url": "nothing"}).status_code == 401
    with working(bench):
        assert pixels(post(open_api(known=False, open_doors=True))).shape == (160, 200, 4)


@pytest.mark.usefixtures("worked")
def test_models_are_listed_and_every_route_takes_them(client: TestClient, sessions: Sessions) -> None:
    assert [model["name"] for model in client.get("/info").json()["models"]] == [
        "isnet-general-use",
        "u2net",
        "birefnet-general",
    ]
    sent = {"model": "u2net"}
    answer = client.post("/api/v1/remove-background", files={"file": ("cup.jpg", PICTURE)}, data=sent)
    assert answer.status_code == 200
    wrong = {"model": "u2netp"}
    answer = client.post("/api/v1/uploads", files={"file": ("cup.jpg", PICTURE)}, data=wrong)
    assert refused(answer) == (422, "invalid_option")
    assert "EXTRA_MODELS" in answer.json()["detail"]
