"""What was asked for reaches the pixels; and a background that is a picture is brought by the worker."""

import io
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from app.core.config import Settings
from app.core.errors import AppError, Forbidden, InvalidRequest, NotFound
from app.core.options import RemovalOptions, read_options
from app.core.states import TaskStatus
from app.db.base import Sessions
from app.db.models import Task, User
from app.imaging.canvas import Canvas
from app.imaging.trim import Length
from app.services.addresses import check_background
from app.services.composing import BackgroundNotUsable, Backgrounds, cutout_options
from app.storage.memory import MemoryStore
from tests.conftest import make_settings
from tests.factories import row
from tests.outbound.sites import Answer, ok, open_to_loopback, saying, site
from tests.pictures import encoded
from tests.services.test_mattes import result, run
from tests.services.test_processing import Bench

GREEN = (0, 150, 0)
COLOURS = {"#102030": (0x10, 0x20, 0x30), "#10203040": (0x10, 0x20, 0x30, 0x40), "#10203000": None}


@pytest.fixture
def near(environment: dict[str, str]) -> Settings:
    return make_settings(environment, outbound_allowed_networks="127.0.0.0/8", s3_key_shared_prefixes="shared/")


@pytest.fixture
def bench(near: Settings, sessions: Sessions, tmp_path: Path) -> Bench:
    return Bench(near, sessions, tmp_path)


@pytest.fixture
def backgrounds(near: Settings) -> Backgrounds:
    return Backgrounds(near, MemoryStore(), open_to_loopback())


def green(**options: Any) -> bytes:
    return encoded(Image.new("RGB", (60, 60), GREEN), "PNG", **options)


def stored(**fields: Any) -> dict[str, Any]:
    return read_options({"trim": False, **fields}).model_dump(mode="json")


def corner(bench: Bench, task: Task) -> tuple[int, ...]:
    assert (task.status, task.error_message) == (TaskStatus.COMPLETED, None)
    with Image.open(io.BytesIO(bench.store.get(task.result_key or ""))) as picture:
        return tuple(np.asarray(picture.convert("RGB"))[0, 0].tolist())


def processed(bench: Bench, user: User, **fields: Any) -> Task:
    task_id = bench.task(user, options=stored(**fields))
    bench.process(task_id)
    return row(bench.sessions, task_id)


def test_every_option_has_its_word_in_the_pipeline(settings: Settings) -> None:
    fields = {"size": "300x200", "scale": "80%", "position": "0% 100%", "padding": "1 2%", "shadow": "drop"}
    options = cutout_options(read_options({**fields, "shadow_opacity": 30, "operation": "constant"}), settings)
    assert options.operation == "constant"
    assert (options.canvas, options.scale, options.position) == (Canvas(300, 200), 0.8, (0, 1))
    assert options.padding == (Length(1), Length(2, percent=True), Length(1), Length(2, percent=True))
    assert options.shadow == 0.3
    assert options.roi is None
    region = cutout_options(read_options({"roi": "0 5px 50% 100%"}), settings).roi
    assert region == (Length(0), Length(5), Length(50, percent=True), Length(100, percent=True))
    behind = {colour: cutout_options(read_options({"background": colour}), settings).background for colour in COLOURS}
    assert behind == COLOURS
    assert cutout_options(read_options({"size": "hd"}), settings).max_megapixels == 4
    assert cutout_options(RemovalOptions(), settings).shadow == 0


def test_the_row_tells_where_the_subject_is(bench: Bench, user: User) -> None:
    task = processed(bench, user, trim=True, padding=7)
    assert task.subject_box is not None
    assert task.result_box == [7, 7, *task.subject_box[2:]]


def test_a_region_of_interest_is_cut_from_the_kept_matte_which_stays_whole(bench: Bench, user: User) -> None:
    first = run(bench, user, options={"roi": "0px 0px 50% 100%", "trim": False})
    whole, right = (run(bench, user, options={"trim": False, **roi}) for roi in ({}, {"roi": "50% 0px 100% 100%"}))
    assert bench.engine.runs == 1
    assert len({row(bench.sessions, task_id).confidence for task_id in (first, whole, right)}) == 1
    alphas = [opacity(result(bench, task_id)) for task_id in (first, right, whole)]
    assert not alphas[0][:, 100:].any()
    assert not alphas[1][:, :100].any()
    assert min(alphas[0].max(), alphas[1].max()) == 255
    assert np.array_equal(alphas[0] + alphas[1], alphas[2])


def opacity(png: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.getchannel("A"))


def test_a_picture_in_the_store_becomes_the_background(bench: Bench, user: User) -> None:
    key = f"imports/{user.id}/beach.png"
    bench.store.put(key, io.BytesIO(green()), "image/png")
    assert corner(bench, processed(bench, user, background=f"s3:{key}")) == GREEN


def test_a_picture_by_its_url_becomes_the_background(bench: Bench, user: User) -> None:
    with site(saying(ok(green()))) as running:
        assert corner(bench, processed(bench, user, background=running.url)) == GREEN


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (saying(b"HTTP/1.1 404 Gone\r\nContent-Length: 0\r\n\r\n"), "The URL could not be fetched."),
        (saying(ok(b"GIF89a")), "Unsupported image format"),
        (saying(ok(green()[:100])), "Image is"),
        (saying(ok(bytes(13_000_000))), "Its file is too large."),
    ],
    ids=["404", "gif", "broken", "large"],
)
def test_a_bad_background_fails_the_task_at_once(bench: Bench, user: User, answer: Answer, why: str) -> None:
    with site(answer) as running:
        task = processed(bench, user, background=running.url)
    assert (task.status, task.error_code, task.retries) == (TaskStatus.FAILED, "background_not_usable", 0)
    assert (task.error_message or "").startswith(f"The background cannot be used: {why}")
    assert bench.engine.runs == 0


def test_a_background_is_fetched_once_for_many(backgrounds: Backgrounds, user: User) -> None:
    with site(saying(ok(green()))) as running:
        asked = RemovalOptions(background=running.url)
        assert backgrounds.is_far(asked, user.id)
        for _ in range(3):
            assert backgrounds.bring(asked, user.id) is not None
        assert not backgrounds.is_far(asked, user.id)
        assert backgrounds.is_far(asked, uuid4())  # another account's is its own affair
        assert running.connections == 1


def test_a_site_that_is_not_well_is_asked_again(bench: Bench, user: User) -> None:
    with site(saying(b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n")) as running:
        task = processed(bench, user, background=running.url)
    assert (task.status, task.error_code, task.retries) == (TaskStatus.RETRYING, "background_not_usable", 1)


def test_a_missing_object_is_not_taken_for_the_original(bench: Bench, user: User) -> None:
    task = processed(bench, user, background=f"s3:imports/{user.id}/gone.png")
    assert (task.status, task.error_code) == (TaskStatus.FAILED, "background_not_usable")


def test_transparent_spots_of_a_background_are_white(backgrounds: Backgrounds, user: User) -> None:
    half = Image.new("RGBA", (60, 60), (*GREEN, 0))
    half.paste((*GREEN, 255), (0, 0, 30, 60))
    backgrounds.store.put("shared/half.png", io.BytesIO(encoded(half, "PNG")), "image/png")
    picture = backgrounds.bring(read_options({"background": "s3:shared/half.png"}), user.id)
    assert picture is not None
    assert picture.bgr[0, [0, 59]].tolist() == [[0, 150, 0], [255, 255, 255]]


def test_nothing_is_brought_when_nothing_is_named(backgrounds: Backgrounds, user: User) -> None:
    for background in ("", "red", "blur(2%)", "linear-gradient(red, blue)"):
        assert backgrounds.bring(read_options({"background": background}), user.id) is None


@pytest.mark.parametrize(
    ("background", "error", "code"),
    [
        ("s3:imports/{other}/a.png", NotFound, "s3_key_not_found"),
        ("s3:processed/{user}/a.png", NotFound, "s3_key_not_found"),
        ("s3:imports/{user}/../{other}/a.png", InvalidRequest, "invalid_s3_key"),
        ("http://user:password@example.com/", InvalidRequest, "invalid_url"),
    ],
)
def test_what_may_not_be_named(
    near: Settings, backgrounds: Backgrounds, user: User, background: str, error: type[AppError], code: str
) -> None:
    """At the door; and the worker looks again, whatever way the task came in."""
    named = background.format(user=user.id, other=UUID(int=7))
    asked = read_options({"background": named})
    with pytest.raises(error) as problem:
        check_background(asked, user.id, near)
    assert problem.value.code == code
    with pytest.raises(BackgroundNotUsable):
        backgrounds.bring(asked, user.id)


def test_urls_may_be_switched_off(environment: dict[str, str], user: User) -> None:
    closed = make_settings(environment, url_ingest_enabled=False)
    with pytest.raises(Forbidden):
        check_background(read_options({"background": "https://example.com/a.png"}), user.id, closed)
    check_background(read_options({"background": f"s3:originals/{user.id}/a"}), user.id, closed)
