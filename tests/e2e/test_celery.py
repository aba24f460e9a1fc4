"""Other Celery clients, over Redis."""

from typing import Any
from uuid import uuid4

import pytest

from tests.e2e import foreign
from tests.e2e.conftest import Deployment
from tests.embedded_services import wait_for
from tests.outbound.sites import saying, site
from tests.webhooks.messages import OK, received

pytestmark = pytest.mark.xdist_group("e2e")


@pytest.fixture(autouse=True)
def _healthy(deployment: Deployment) -> None:
    deployment.wait_healthy()


def test_a_job_is_answered_and_called_back(deployment: Deployment) -> None:
    foreign.goes_through(deployment)


def test_a_message_that_comes_twice_makes_one_batch(deployment: Deployment) -> None:
    before, task_id = foreign.batches(deployment), str(uuid4())
    with foreign.pictures() as source:
        request = {"pipeline": "constant", "source_images": [{"id": "ä", "url": source.url}], "config": {}}
        results = [
            foreign.send(deployment, name, request, task_id=task_id)
            for name in ("process_pipeline", "api.tasks.process_pipeline")
        ]
    assert results[0] == results[1]
    assert results[0]["detections"][0]["bbox"] == {"x1": 0, "y1": 0, "x2": 200, "y2": 160}
    assert foreign.batches(deployment) == before + 1
    wait_for(lambda: "job_came_twice" in deployment.log("worker").read_text(), "the second one has come")


def test_a_passing_fault_loses_no_job(deployment: Deployment) -> None:
    foreign.outlasts_a_passing_fault(deployment)


def test_a_job_that_makes_no_sense_is_refused_with_a_sentence(deployment: Deployment) -> None:
    with site(saying(OK)) as there:
        asked = "--pipeline", "nonsense", "--image-url", "https://example.com/a.jpg", "--callback-url", there.url
        _, complaint = foreign.submit(deployment, *asked, "--wait", str(foreign.PATIENCE), code=1)
        wait_for(lambda: len(there.requests) > 0, "the client is called back", seconds=foreign.PATIENCE)
    sentence = complaint.removeprefix("submit_job: ").strip()
    assert sentence.startswith("pipeline: there is none of this name; there are remove-background, ")
    (message,) = received(there)
    told = {"pipeline": "nonsense", "error": {"code": "unknown_pipeline", "detail": sentence}}
    assert message.verified(foreign.secret(deployment)) == told


@pytest.mark.parametrize("name", ["health_check", "api.tasks.health_check"])
def test_the_workers_tell_how_they_are(deployment: Deployment, name: str) -> None:
    told = foreign.send(deployment, name)
    assert (told["status"], told["checks"]["workers"], told["checks"]["s3"]) == ("healthy", "ok", "ok")


def test_no_message_ends_a_worker(deployment: Deployment) -> None:
    worker, log = deployment.processes["worker"], deployment.log("worker")
    before = log.read_text().count("message_refused")
    for name, headers, body in _misshapen():
        foreign.publish(deployment, body, {"task": "health_check", "id": str(uuid4())} | headers)
        assert foreign.send(deployment, "health_check")["status"], name
        assert worker.poll() is None, name
    assert log.read_text().count("message_refused") == before + len(_misshapen())


def _misshapen() -> list[tuple[str, dict[str, Any], bytes]]:
    good = b"[[], {}, {}]"
    return [
        ("nested too deeply", {}, b"[[" + b'{"a":' * 500 + b"{}" + b"}" * 500 + b"], {}, {}]"),
        ("just so deeply that it is the pool that fails", {}, b"[[" + b"[" * 440 + b"]" * 440 + b"], {}, {}]"),
        ("two parts", {}, b"[[], {}]"),
        ("a number", {}, b"5"),
        ("null", {}, b"null"),
        ("no text", {}, b"\xff\xfe"),
        ("a list as the task", {"task": ["a"]}, good),
        ("no id", {"id": None}, good),
        ("a time limit in words, and no arguments", {"timelimit": ["x", "y"]}, b"[]"),
        ("a mapping as the id", {"id": {}}, good),
    ]


@pytest.mark.parametrize("limit", [["x", "y"], [0.001, 0.001]])
def test_the_time_limits_are_ours(deployment: Deployment, limit: list[Any]) -> None:
    job_id = str(uuid4())
    foreign.publish(deployment, b"[[], {}, {}]", {"task": "health_check", "id": job_id, "timelimit": limit})
    assert foreign.result(deployment, job_id)["status"]


@pytest.mark.parametrize("retries", [-1, "x"])
def test_a_number_of_tries_that_is_none_is_refused(deployment: Deployment, retries: Any) -> None:
    job_id = str(uuid4())
    headers = {"task": "process_pipeline", "id": job_id, "retries": retries}
    foreign.publish(deployment, b"[[], {}, {}]", headers)
    with pytest.raises(ValueError, match=r"^retries: "):
        foreign.result(deployment, job_id)
