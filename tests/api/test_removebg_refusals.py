"""The errors of `POST /v1.0/removebg`, each of them provoked: with a worker, sites and limits."""

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.api.compat.removebg_errors import MEDIA_TYPE
from app.core.states import TaskStatus
from app.db.base import Sessions
from app.db.models import User
from tests.api.conftest import headers
from tests.api.live import serve
from tests.api.removebg import LOCAL, door
from tests.api.test_protocol import END, parse, read
from tests.api.test_removebg_errors import PLAIN, error
from tests.api.working import working
from tests.conftest import make_settings
from tests.factories import row
from tests.outbound.sites import ok, saying, site
from tests.pictures import encoded, subject
from tests.services.test_processing import Bench

__all__ = ["headers"]

REMOVE = "/v1.0/removebg"
PICTURE = encoded(subject(200, 160))
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
AWAY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
NOT_FETCHED = "The URL could not be fetched."
Open = Callable[..., TestClient]


@pytest.fixture
def bench(environment: dict[str, str], sessions: Sessions, tmp_path: Path) -> Bench:
    return Bench(make_settings(environment, **LOCAL), sessions, tmp_path)


@pytest.fixture
def open_api(environment: dict[str, str], bench: Bench, user: User) -> Iterator[Open]:
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(door(environment, bench, user, **changes))


@pytest.fixture
def worked(bench: Bench) -> Iterator[None]:
    with working(bench):
        yield


def send(client: TestClient, data: bytes = PICTURE, fields: dict[str, str] | None = None) -> Any:
    return client.post(REMOVE, files={"image_file": ("cup.jpg", data)}, data=fields)


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("invalid_size", {"size": "huge"}),
        ("invalid_channels", {"channels": "rgb"}),
        ("invalid_format", {"format": "gif"}),
        ("invalid_roi", {"roi": "0 0 10"}),
        ("invalid_scale", {"scale": "5%"}),
        ("invalid_position", {"position": "left"}),
        ("invalid_crop_margin", {"crop": "true", "crop_margin": "1 2 3"}),
        ("invalid_semitransparency", {"semitransparency": "maybe"}),
        ("invalid_bg_color", {"bg_color": "no-colour"}),
        ("multiple_bg_sources", {"bg_color": "fff", "bg_image_url": "https://example.com/a.jpg"}),
        ("invalid_bg_image_url", {"bg_image_url": "ftp://example.com/a.jpg"}),
    ],
)
def test_of_parameters(open_api: Open, code: str, fields: dict[str, str]) -> None:
    found = error(send(open_api(), fields=fields), 400)
    assert (found["code"], found["title"]) == (code, PLAIN[code])
    assert found["detail"]


@pytest.mark.usefixtures("worked")
@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("roi_exceeds_bounds", {"roi": "0 0 5000px 100%"}),
        ("roi_region_empty", {"roi": "10px 10px 10px 90px"}),
    ],
)
def test_of_regions(open_api: Open, code: str, fields: dict[str, str]) -> None:
    answer = send(open_api(), fields=fields)
    found = error(answer, 400)
    assert (found["code"], found["title"]) == (code, PLAIN[code])


@pytest.mark.usefixtures("worked")
def test_of_a_picture_without_a_subject(
    open_api: Open, bench: Bench, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.engine, "infer", lambda blob: np.full((1024, 1024), 0.1, np.float32))
    answer = send(open_api())
    found = error(answer, 400)
    assert (found["code"], found["title"]) == ("unknown_foreground", PLAIN["unknown_foreground"])
    assert row(sessions, UUID(answer.headers["x-task-id"])).status == TaskStatus.FAILED


@pytest.mark.usefixtures("worked")
def test_of_a_picture_that_is_broken_inside(open_api: Open) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (200, 200, 3), np.uint8)
    data = encoded(Image.fromarray(noise), "PNG")
    found = error(send(open_api(), data[:60_000] + bytes(100)), 400)
    assert (found["code"], found["title"]) == ("failed_to_read_image", PLAIN["failed_to_read_image"])


@pytest.mark.usefixtures("worked")
def test_of_urls(open_api: Open) -> None:
    client = open_api()
    with site(saying(NOT_FOUND)) as gone, site(saying(ok(b"GIF89a" + bytes(99)))) as gif:
        found = error(client.post(REMOVE, json={"image_url": gone.url}), 400)
        assert found["code"] == "failed_image_download"
        assert found["title"].startswith(f"Failed to download image from given image_url: {NOT_FETCHED}")
        assert error(client.post(REMOVE, json={"image_url": gif.url}), 400)["code"] == "invalid_file_type"
        found = error(send(client, fields={"bg_image_url": gone.url}), 400)
        assert found["code"] == "failed_bg_download"
        assert NOT_FETCHED in found["title"]
    closed = open_api(url_ingest_enabled=False)
    found = error(closed.post(REMOVE, json={"image_url": "https://example.com/a.jpg"}), 400)
    assert found["code"] == "failed_image_download"
    assert "switched off" in found["title"]


@pytest.mark.usefixtures("worked")
def test_of_a_site_that_is_away_for_now(open_api: Open, sessions: Sessions) -> None:
    """Its task would try again in a minute: it ends, as nobody would be there for its picture."""
    client = open_api()
    with site(saying(AWAY)) as away:
        answers = [client.post(REMOVE, json={"image_url": away.url}), send(client, fields={"bg_image_url": away.url})]
    assert [error(answer, 400)["code"] for answer in answers] == ["failed_image_download", "failed_bg_download"]
    for answer in answers:
        assert row(sessions, UUID(answer.headers["x-task-id"])).status == TaskStatus.FAILED


def left(client: TestClient) -> int:
    return int(client.get("/v1.0/account").json()["data"]["attributes"]["credits"]["total"])


@pytest.mark.usefixtures("worked")
def test_none_of_them_costs_anything(open_api: Open, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    client = open_api(quota_images_per_month=2)
    with site(saying(NOT_FOUND)) as gone, site(saying(AWAY)) as away:
        for near in (gone, away):
            assert error(client.post(REMOVE, json={"image_url": near.url}), 400)["code"] == "failed_image_download"
        assert error(send(client, fields={"bg_image_url": gone.url}), 400)["code"] == "failed_bg_download"
    assert error(send(client, fields={"roi": "0 0 5000px 100%"}), 400)["code"] == "roi_exceeds_bounds"
    with monkeypatch.context() as patch:
        patch.setattr(bench.engine, "infer", lambda blob: np.full((1024, 1024), 0.1, np.float32))
        answer = send(client, encoded(subject(210, 160)))
    assert (error(answer, 400)["code"], left(client)) == ("unknown_foreground", 2)
    # Who has it begun anew after all is charged again, and once.
    task_id = answer.headers["x-task-id"]
    for _ in range(2):
        client.post(f"/api/v1/tasks/{task_id}/retry")
        assert left(client) == 1
    assert send(client).status_code == 200
    assert left(client) == 0


def test_of_a_month_that_is_used_up(open_api: Open) -> None:
    client = open_api(quota_images_per_month=1, drop_in_wait_seconds=0)
    assert error(send(client), 503)["code"] == "still_processing"
    found = error(send(client, encoded(subject(160, 120))), 402)
    assert (found["title"], found["code"]) == ("Insufficient credits", "insufficient_credits")


def test_of_megapixels(open_api: Open) -> None:
    client = open_api(rate_limit_megapixels_per_minute=1, drop_in_wait_seconds=0)
    large = encoded(subject(1000, 900))
    assert send(client, large).status_code == 503
    refused = send(client, encoded(subject(1000, 800)))
    found = error(refused, 429)
    assert (found["title"], found["code"]) == ("Rate limit exceeded", "rate_limit_exceeded")
    assert "1 megapixels in 60 seconds" in found["detail"]
    wait = int(refused.headers["retry-after"])
    assert (refused.headers["x-ratelimit-limit"], refused.headers["x-ratelimit-remaining"]) == ("1", "0")
    assert abs(int(refused.headers["x-ratelimit-reset"]) - time.time() - wait) < 5


def test_of_tasks_at_a_time(open_api: Open) -> None:
    client = open_api(quota_active_tasks=1, drop_in_wait_seconds=0)
    assert send(client).status_code == 503
    refused = send(client, encoded(subject(160, 120)))
    assert error(refused, 429)["code"] == "rate_limit_exceeded"
    assert int(refused.headers["retry-after"]) > 0


def test_of_one_that_takes_longer(open_api: Open, sessions: Sessions) -> None:
    answer = send(open_api(drop_in_wait_seconds=0))
    found = error(answer, 503)
    assert found["code"] == "still_processing"
    assert int(answer.headers["retry-after"]) > 0
    assert row(sessions, UUID(answer.headers["x-task-id"])).status == TaskStatus.QUEUED


@pytest.mark.parametrize("way", ["data", "json"])
def test_of_bodies_that_are_far_too_large(open_api: Open, way: str) -> None:
    text = base64.b64encode(bytes(17_000_000)).decode()
    sent: dict[str, Any] = {way: {"image_file_b64": text}}
    found = error(open_api().post(REMOVE, **sent), 400)
    assert found == {"title": "File too large", "code": "file_too_large", "detail": "File exceeds limit of 10MB"}


def test_of_bodies_that_stop(environment: dict[str, str], sessions: Sessions, headers: dict[str, str]) -> None:
    made = make_settings(environment, upload_deadline_seconds=1)
    with serve(made, headers) as live, socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        sent = {"Host": "x", "Content-Type": "application/json", "Content-Length": "99", **headers}
        lines = [f"POST {REMOVE} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
        connection.sendall("\r\n".join(lines).encode() + END + b"{")
        status, answered, body = parse(read(connection))
    assert (status, answered["content-type"], answered["connection"]) == (408, MEDIA_TYPE, "close")
    (found,) = json.loads(body)["errors"]
    assert found["code"] == "upload_too_slow"
