"""remove.bg's door with its worker beside it: an engine that sees exactly the box that a test has drawn."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw

from app.db.base import Sessions
from app.db.models import User
from app.main import create_app
from tests.api.conftest import bearer
from tests.conftest import make_settings
from tests.pictures import encoded
from tests.services.test_processing import Bench

URL = "/v1.0/removebg"
WIDTH, HEIGHT = 640, 480
LEFT, TOP, RIGHT, BOTTOM = BOX = 160, 120, 320, 300  # the subject
RED, WALL = (190, 30, 40), (205, 214, 221)
LOCAL: dict[str, Any] = {"outbound_allowed_networks": "127.0.0.0/8"}
NEAR = 2  # pixels that a soft edge may be beside


class BoxEngine:
    """Sees the subject of `drawn` and nothing else."""

    name = "box"
    precision = "fp32"

    def infer(self, blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        y, x = np.mgrid[:1024, :1024] + 0.5
        across = (x > LEFT / WIDTH * 1024) & (x < RIGHT / WIDTH * 1024)
        down = (y > TOP / HEIGHT * 1024) & (y < BOTTOM / HEIGHT * 1024)
        return np.where(across & down, 1.0, 0.0).astype(np.float32)


def drawn() -> bytes:
    image = Image.new("RGB", (WIDTH, HEIGHT), WALL)
    ImageDraw.Draw(image).rectangle((LEFT, TOP, RIGHT - 1, BOTTOM - 1), fill=RED)
    return encoded(image, "PNG")


PICTURE = drawn()


def make_bench(environment: dict[str, str], sessions: Sessions, folder: Path, **changes: Any) -> Bench:
    bench = Bench(make_settings(environment, **LOCAL | changes), sessions, folder)
    bench.engine = BoxEngine()  # type: ignore[assignment]  # any engine will do
    return bench


@contextmanager
def door(environment: dict[str, str], bench: Bench, user: User, **changes: Any) -> Iterator[TestClient]:
    settings = make_settings(environment, **LOCAL | changes)
    with TestClient(create_app(settings, store=bench.store), headers=bearer(settings, user.id)) as client:
        yield client


def send(client: TestClient, data: bytes = PICTURE, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    return client.post(URL, files={"image_file": ("cup.png", data)}, data=fields, headers=headers)


def opened(answer: Any) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def refused(answer: Any) -> tuple[int, str]:
    (error,) = answer.json()["errors"]
    return answer.status_code, error["code"]


def task_of(answer: Any) -> UUID:
    return UUID(answer.headers["X-Task-Id"])
