"""`POST /v1.0/removebg`: what the pixels of the answers are, of a picture whose subject the test has drawn."""

import base64
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageChops

from app.db.base import Sessions
from app.db.models import User
from tests.api.removebg import (
    BOTTOM,
    BOX,
    HEIGHT,
    LEFT,
    NEAR,
    PICTURE,
    RED,
    RIGHT,
    TOP,
    WIDTH,
    door,
    make_bench,
    opened,
    refused,
    send,
)
from tests.api.working import working
from tests.pictures import encoded

Four = tuple[int, int, int, int]
WIDE, HIGH = RIGHT - LEFT, BOTTOM - TOP  # of the subject: 160 x 180
HAZE = 7  # alpha up to here is no subject
FULL: dict[str, Any] = {"size": "full", "format": "png"}


@pytest.fixture
def client(environment: dict[str, str], sessions: Sessions, user: User, tmp_path: Path) -> Iterator[TestClient]:
    large = {"max_image_side": 8192}
    bench = make_bench(environment, sessions, tmp_path, **large)
    with working(bench), door(environment, bench, user, **large) as client:
        yield client


def told(answer: Any) -> Four:
    """The subject's box in the result: left, top, width, height."""
    left, top, width, height = (
        int(answer.headers[f"X-Foreground-{side}"]) for side in ("Left", "Top", "Width", "Height")
    )
    return left, top, width, height


def seen(picture: Image.Image) -> Four:
    """Likewise, by its transparency."""
    found = picture.getchannel("A").point(lambda alpha: 255 * (alpha > HAZE)).getbbox()
    assert found is not None
    return found[0], found[1], found[2] - found[0], found[3] - found[1]


def near(found: tuple[int, ...], expected: tuple[float, ...], by: float = NEAR) -> bool:
    return all(abs(one - other) <= by for one, other in zip(found, expected, strict=True))


def made(client: TestClient, **fields: str) -> tuple[Any, Image.Image]:
    """An answer, whose headers agree with its pixels."""
    answer = send(client, **FULL | fields)
    picture = opened(answer)
    assert picture.size == (int(answer.headers["X-Width"]), int(answer.headers["X-Height"]))
    assert near(told(answer), seen(picture), by=1)
    return answer, picture


def test_where_the_subject_is(client: TestClient) -> None:
    answer, picture = made(client)
    assert picture.size == (WIDTH, HEIGHT)
    assert near(told(answer), (LEFT, TOP, WIDE, HIGH))
    assert picture.getpixel((LEFT + 80, TOP + 90)) == (*RED, 255)
    assert picture.getpixel((LEFT - 20, TOP)) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("margin", "around"),  # top, right, bottom, left
    [
        ("", (0, 0, 0, 0)),
        ("20px", (20, 20, 20, 20)),
        ("10% 30px", (18, 30, 18, 30)),
        ("1px 10% 3px 0", (1, 16, 3, 0)),
        ("80%", (90, 80, 90, 80)),  # as large as there is
        ("600px", (TOP, WIDTH - RIGHT, HEIGHT - BOTTOM, LEFT)),  # and no further than the picture goes
    ],
)
def test_cropped_with_a_margin(client: TestClient, margin: str, around: Four) -> None:
    answer, picture = made(client, crop="true", crop_margin=margin)
    top, right, bottom, left = around
    assert near(picture.size, (WIDE + left + right, HIGH + top + bottom), by=2 * NEAR)
    assert near(told(answer), (left, top, WIDE, HIGH))
    assert (answer.headers["X-Max-Width"], answer.headers["X-Max-Height"]) == tuple(map(str, picture.size))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"scale": "50%"}, (213.3, 120, 213.3, 240)),
        ({"scale": "100%"}, (106.7, 0, 426.7, 480)),
        ({"scale": "50%", "position": "0% 100%"}, (0, 240, 213.3, 240)),
        ({"scale": "50%", "position": "original"}, (213.3 / 1.5, 96, 213.3, 240)),
        ({"position": "center"}, (240, 150, WIDE, HIGH)),
        ({"position": "0%"}, (0, 0, WIDE, HIGH)),
        ({"position": "100% 0%"}, (480, 0, WIDE, HIGH)),
        ({"position": "original"}, (LEFT, TOP, WIDE, HIGH)),
    ],
)
def test_scaled_and_placed(client: TestClient, fields: dict[str, Any], expected: tuple[float, ...]) -> None:
    answer, picture = made(client, **fields)
    assert picture.size == (WIDTH, HEIGHT)
    assert near(told(answer), expected, by=2 * NEAR)


@pytest.mark.parametrize(
    ("roi", "expected"),
    [
        ("0 0 100% 100%", (LEFT, TOP, WIDE, HIGH)),
        ("0px 0px 240px 480px", (LEFT, TOP, 80, HIGH)),
        ("0% 50% 100% 100%", (LEFT, 240, WIDE, 60)),
        ("200px 150px 50% 60%", (200, 150, 120, 138)),
    ],
)
def test_only_in_a_region(client: TestClient, roi: str, expected: Four) -> None:
    answer, _ = made(client, roi=roi)
    assert near(told(answer), expected)


@pytest.mark.parametrize(
    ("roi", "code"),
    [
        ("0 0 641px 100%", "roi_exceeds_bounds"),
        ("50% 0 50% 100%", "roi_region_empty"),
        ("0 0 50px 50px", "unknown_foreground"),
    ],
)
def test_regions_without_a_subject(client: TestClient, roi: str, code: str) -> None:
    assert refused(send(client, roi=roi)) == (400, code)


def test_in_each_size(client: TestClient) -> None:
    with Image.open(io.BytesIO(PICTURE)) as picture:
        large = encoded(picture.resize((4 * WIDTH, 4 * HEIGHT), Image.Resampling.NEAREST), "PNG", compress_level=1)
    for size, pixels in (("preview", 250_000), ("medium", 1_500_000), ("hd", 4_000_000), ("full", 4 * 4 * 640 * 480)):
        answer = send(client, large, size=size, format="png")
        with opened(answer) as result:
            assert result.width * result.height == pytest.approx(pixels, rel=0.005)
            assert result.width * result.height <= pixels
            by = result.width / WIDTH
            assert near(told(answer), tuple(by * side for side in (LEFT, TOP, WIDE, HIGH)), by=2 * NEAR)
        assert (answer.headers["X-Max-Width"], answer.headers["X-Max-Height"]) == ("2560", "1920")
    answer = send(client, large, size="preview", crop="true", format="png")
    largest = int(answer.headers["X-Max-Width"]), int(answer.headers["X-Max-Height"])
    assert int(answer.headers["X-Width"]) < 480
    assert near(largest, (4 * WIDE, 4 * HIGH), by=4 * NEAR)


@pytest.mark.parametrize(("written", "expected"), [("png", (4000, 2500)), ("jpg", (4400, 2750))])
def test_a_png_has_ten_megapixels_at_most(client: TestClient, written: str, expected: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(PICTURE)) as picture:
        large = encoded(picture.resize((4400, 2750)), "JPEG")
    answer = send(client, large, size="full", format=written)
    with opened(answer) as result:
        assert near(result.size, expected, by=1)
    assert answer.headers["X-Max-Width"] == answer.headers["X-Width"]


def test_as_it_is_displayed(client: TestClient) -> None:
    """A quarter turn by EXIF."""
    with Image.open(io.BytesIO(PICTURE)) as picture:
        exif = picture.getexif()
        exif[0x0112] = 8  # to be turned to the left
        turned = encoded(picture.transpose(Image.Transpose.ROTATE_270), "JPEG", exif=exif, quality=95)
    answer = send(client, turned, **FULL)
    with opened(answer) as result:
        assert result.size == (WIDTH, HEIGHT)
    assert near(told(answer), (LEFT, TOP, WIDE, HIGH), by=2 * NEAR)
    assert (answer.headers["X-Max-Width"], answer.headers["X-Max-Height"]) == (str(WIDTH), str(HEIGHT))


@pytest.mark.parametrize(
    ("fields", "corner"),
    [
        ({"bg_color": "81d4fa"}, (0x81, 0xD4, 0xFA)),
        ({"bg_color": "#0f0"}, (0, 255, 0)),
        ({"bg_color": "navy"}, (0, 0, 128)),
        ({"bg_color": "0000ff80"}, (0, 0, 255, 128)),
        ({"bg_color": "00f8"}, (0, 0, 255, 136)),
        ({"bg_color": "0000ff80", "format": "jpg"}, (127, 127, 255)),
        ({"format": "jpg"}, (255, 255, 255)),
        ({"format": "png"}, (0, 0, 0, 0)),
    ],
)
def test_on_a_colour(client: TestClient, fields: dict[str, Any], corner: tuple[int, ...]) -> None:
    answer = send(client, **FULL | {"format": "auto"} | fields)
    with opened(answer) as picture:
        found, subject = picture.getpixel((5, 5)), picture.getpixel((LEFT + 80, TOP + 90))
        assert isinstance(found, tuple)
        assert isinstance(subject, tuple)
        assert near(found, corner)
        assert near(subject[:3], RED, by=3)
    assert near(told(answer), (LEFT, TOP, WIDE, HIGH))


def test_a_shadow_under_it(client: TestClient) -> None:
    below = BOTTOM + 5, LEFT + 80
    alphas = {}
    for opacity in ("none", "20", "80"):
        fields = {"shadow_type": "none"} if opacity == "none" else {"shadow_type": "3D", "shadow_opacity": opacity}
        answer = send(client, **FULL | fields)
        with opened(answer) as picture:
            alphas[opacity] = int(np.asarray(picture)[below][3])
        assert near(told(answer), (LEFT, TOP, WIDE, HIGH))  # of which it is no part
    assert alphas["none"] == 0
    assert 5 < alphas["20"] < alphas["80"] / 3


def test_the_matte_alone_is_that_of_the_cutout(client: TestClient) -> None:
    _, picture = made(client)
    answer = send(client, **FULL | {"channels": "alpha"})
    with opened(answer) as matte:
        assert ImageChops.difference(matte, picture.getchannel("A")).getbbox() is None
    assert near(told(answer), (LEFT, TOP, WIDE, HIGH))


def test_a_zip_is_the_cutout_in_two(client: TestClient) -> None:
    _, picture = made(client)
    answer = send(client, **FULL | {"format": "zip"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        with Image.open(io.BytesIO(archive.read("alpha.png"))) as alpha:
            assert ImageChops.difference(alpha, picture.getchannel("A")).getbbox() is None
        with Image.open(io.BytesIO(archive.read("color.jpg"))) as colours:
            inside = np.asarray(colours)[TOP + 5 : BOTTOM - 5, LEFT + 5 : RIGHT - 5]
    assert np.abs(inside.astype(int) - RED).max() <= 3
    assert near(told(answer), (LEFT, TOP, WIDE, HIGH))


def test_json_tells_the_same_place(client: TestClient) -> None:
    answer = send(client, headers={"Accept": "application/json"}, **FULL | {"crop": "true", "crop_margin": "20px"})
    data = answer.json()["data"]
    with Image.open(io.BytesIO(base64.b64decode(data["result_b64"]))) as picture:
        box = tuple(data[f"foreground_{side}"] for side in ("left", "top", "width", "height"))
        assert near(box, seen(picture), by=1)
    assert near(box, (20, 20, WIDE, HIGH))
    assert box == told(answer)


def test_the_subject_is_where_it_was_drawn() -> None:
    """Else all of this is about nothing."""
    with Image.open(io.BytesIO(PICTURE)) as picture:
        red = picture.getchannel("R").point(lambda value: 255 * (value == RED[0]))
        assert red.getbbox() == BOX
