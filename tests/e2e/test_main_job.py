"""From an upload to the finished picture, and through the faults that must lose nothing."""

import io
import json
import os
import signal
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import httpx2
import pytest
import redis
from PIL import Image

from app.db.base import make_sessions
from app.db.dispatch import WINDOW
from tests.e2e.conftest import Deployment, task, upload, wait_done
from tests.embedded_services import wait_for
from tests.factories import row
from tests.pictures import encoded, subject

# One deployment at a time is enough for two cores.
pytestmark = pytest.mark.xdist_group("e2e")


@pytest.fixture
def client(deployment: Deployment) -> Iterator[httpx2.Client]:
    deployment.wait_healthy()
    with deployment.account() as client:
        yield client


def test_a_picture_goes_in_and_its_cutout_comes_out(deployment: Deployment, client: httpx2.Client) -> None:
    done = wait_done(client, upload(client, encoded(subject(640, 480))))[0]
    assert (done["status"], done["progress"], done["stage"], done["error_code"]) == ("completed", 100, None, None)
    assert done["confidence"] > 0.5
    assert done["processing_time"] > 0
    download = httpx2.get(done["presigned_url"])
    assert download.status_code == 200
    assert "photo-cutout.png" in download.headers["content-disposition"]
    with Image.open(io.BytesIO(download.content)) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGBA")
        # The ball of 240 pixels with 10 pixels around it.
        assert picture.width == pytest.approx(260, abs=8)
        assert picture.height == pytest.approx(260, abs=8)
        assert picture.getpixel((picture.width // 2, picture.height // 2)) == pytest.approx((190, 30, 40, 255), abs=3)
        assert picture.getpixel((0, 0)) == (0, 0, 0, 0)
    assert httpx2.get(done["result_url"]).status_code == 403
    led = client.get(f"/api/v1/tasks/{done['task_id']}/result")
    assert led.status_code == 307
    assert httpx2.get(led.headers["location"]).content == download.content


def test_the_options_are_followed(client: httpx2.Client) -> None:
    done = wait_done(client, upload(client, encoded(subject(640, 480)), trim="false", refine="false"))[0]
    with Image.open(io.BytesIO(httpx2.get(done["presigned_url"]).content)) as picture:
        assert picture.size == (640, 480)


def test_other_formats_come_out_as_what_they_are(client: httpx2.Client) -> None:
    data = encoded(subject(640, 480))
    asked = upload(client, data, format="webp", background="navy"), upload(client, data, format="zip", trim="false")
    webp, apart = (httpx2.get(done["presigned_url"]) for done in wait_done(client, *asked))
    assert webp.headers["content-type"] == "image/webp"
    assert "photo-cutout.webp" in webp.headers["content-disposition"]
    with Image.open(io.BytesIO(webp.content)) as picture:
        assert (picture.format, picture.mode) == ("WEBP", "RGB")
        assert picture.getpixel((2, 2)) == pytest.approx((0, 0, 128), abs=6)
        assert picture.getpixel((picture.width // 2, picture.height // 2)) == pytest.approx((190, 30, 40), abs=6)
    assert apart.headers["content-type"] == "application/zip"
    assert "photo-cutout.zip" in apart.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(apart.content)) as archive:
        assert archive.namelist() == ["color.jpg", "alpha.png"]
        with Image.open(archive.open("color.jpg")) as colour, Image.open(archive.open("alpha.png")) as alpha:
            assert (colour.mode, alpha.mode) == ("RGB", "L")
            assert colour.size == alpha.size == (640, 480)
            assert (alpha.getpixel((0, 0)), alpha.getpixel((320, 240))) == (0, 255)


def test_progress_is_seen_to_move(deployment: Deployment, client: httpx2.Client) -> None:
    task_id = upload(client, encoded(subject(2000, 1500)))
    seen: list[tuple[str | None, int]] = []

    def over() -> bool:
        now = task(client, task_id)
        seen.append((now["stage"], now["progress"]))
        return bool(now["status"] == "completed")

    wait_for(over, "the task is completed")
    assert "inferring" in {stage for stage, _ in seen}
    assert [progress for _, progress in seen] == sorted(progress for _, progress in seen)


def test_a_broken_picture_fails_with_a_sentence(client: httpx2.Client) -> None:
    data = encoded(subject(640, 480), quality=95)
    done = wait_done(client, upload(client, data[: len(data) // 2]))[0]
    assert (done["status"], done["error_code"]) == ("failed", "image_truncated")
    assert done["error_message"]
    assert (done["retries"], done["result_url"], done["presigned_url"]) == (0, None, None)
    answer = client.get(f"/api/v1/tasks/{done['task_id']}/result")
    assert (answer.status_code, answer.json()["code"]) == (409, "task_not_completed")


def test_a_picture_without_a_subject_says_so(client: httpx2.Client) -> None:
    done = wait_done(client, upload(client, encoded(Image.new("RGB", (300, 300), "white"))))[0]
    assert (done["status"], done["error_code"]) == ("failed", "unknown_foreground")


def test_another_account_sees_nothing_of_it(deployment: Deployment, client: httpx2.Client) -> None:
    task_id = upload(client, encoded())
    with deployment.account() as stranger:
        for path in (f"/api/v1/tasks/{task_id}", f"/api/v1/tasks/{task_id}/result"):
            foreign, missing = stranger.get(path), stranger.get(path.replace(str(task_id), str(UUID(int=7))))
            assert foreign.status_code == missing.status_code == 404
            assert foreign.json()["detail"] == missing.json()["detail"]
        assert stranger.get("/api/v1/tasks").json()["tasks"] == []
    wait_done(client, task_id)


def test_twenty_at_once_all_complete(client: httpx2.Client) -> None:
    pictures = [encoded(subject(300 + n, 300)) for n in range(20)]
    with ThreadPoolExecutor(20) as pool:
        task_ids = list(pool.map(lambda picture: upload(client, picture), pictures))
    done = wait_done(client, *task_ids)
    assert {item["status"] for item in done} == {"completed"}
    assert {item["attempt"] for item in done} == {1}


def test_a_line_in_the_metrics_tells_of_each_finished_task(deployment: Deployment, client: httpx2.Client) -> None:
    done = wait_done(client, upload(client, encoded()))[0]
    path = deployment.settings.log_dir / "metrics.log"

    def lines() -> list[dict[str, object]]:
        found = [json.loads(line) for line in path.read_text().splitlines()]
        return [line for line in found if line["task_id"] == done["task_id"]]

    wait_for(lambda: bool(lines()), "the line is written")
    (line,) = lines()
    assert line["upload_id"] == done["upload_id"]
    assert line["status"] == "completed"
    assert isinstance(line["processing_time_seconds"], float)
    assert isinstance(line["memory_usage_mb"], float)
    metadata = line["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["original_size"] == [320, 240]
    assert metadata["processed_size"][0] < 320
    assert metadata["compression_ratio"] > 0
    stages = line["stages"]
    assert isinstance(stages, dict)
    assert list(stages) == ["downloading", "decoding", "inferring", "refining", "encoding", "uploading"]


def test_a_worker_killed_in_the_middle_loses_nothing(deployment: Deployment, client: httpx2.Client) -> None:
    task_id = upload(client, encoded(subject(1200, 900)))
    wait_for(lambda: task(client, task_id)["stage"] == "inferring", "the job is in the middle")
    deployment.kill("worker")
    assert task(client, task_id)["status"] == "processing"
    deployment.start("worker")
    done = wait_done(client, task_id)[0]
    assert (done["status"], done["attempt"], done["retries"]) == ("completed", 2, 1)


def test_an_emptied_broker_loses_nothing(deployment: Deployment, client: httpx2.Client) -> None:
    deployment.stop("worker")
    task_ids = [upload(client, encoded(subject(200 + n, 200))) for n in range(20)]
    with redis.Redis.from_url(deployment.settings.redis_url.get_secret_value()) as broker:
        wait_for(lambda: broker.llen("interactive") == WINDOW, "as many bells were rung as one account may have")
        broker.flushall()
    deployment.start("worker")
    done = wait_done(client, *task_ids)
    assert {item["status"] for item in done} == {"completed"}
    assert {item["attempt"] for item in done} == {1}


def test_a_worker_that_is_told_to_stop_hands_its_job_back(deployment: Deployment, client: httpx2.Client) -> None:
    task_ids = [upload(client, encoded(subject(500 + n, 500))) for n in range(6)]
    wait_for(lambda: any(task(client, each)["status"] == "processing" for each in task_ids), "a job is begun")
    deployment.stop("worker")
    assert not [each for each in task_ids if task(client, each)["status"] == "processing"]
    deployment.start("worker")
    done = wait_done(client, *task_ids)
    assert {(item["status"], item["retries"]) for item in done} == {("completed", 0)}


def test_a_child_that_is_told_to_stop_uses_up_no_retry(deployment: Deployment, client: httpx2.Client) -> None:
    """What a worker does to its children when the time it has for stopping is over."""
    task_id = upload(client, encoded(subject(900, 700)))
    sessions = make_sessions(deployment.engine)
    wait_for(lambda: task(client, task_id)["stage"] == "inferring", "the job is in the middle")
    os.kill(int(str(row(sessions, task_id).worker).rsplit(":", 1)[1]), signal.SIGTERM)
    done = wait_done(client, task_id)[0]
    assert (done["status"], done["retries"]) == ("completed", 0)
