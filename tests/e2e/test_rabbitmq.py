"""The service with RabbitMQ as its broker, through the faults that must lose nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from kombu.connection import Connection

from app.core.states import TaskStatus
from app.db.base import make_sessions
from app.tasks.celery_app import FOREIGN, QUEUES
from app.tasks.publishing import Publisher
from tests.conftest import make_environment
from tests.e2e import foreign
from tests.e2e.conftest import Deployment, deploy, upload, wait_done
from tests.embedded_services import RunningServices, wait_for
from tests.factories import row
from tests.pictures import encoded, subject
from tests.rabbitmq import NotHere, Rabbit, find

pytestmark = pytest.mark.xdist_group("e2e")


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    try:
        root = find()
    except NotHere as reason:
        pytest.skip(str(reason))
    broker = Rabbit(root, tmp_path_factory.mktemp("rabbitmq"))
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.fixture(scope="module")
def rung(
    rabbit: Rabbit, services: RunningServices, small_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    environment = make_environment(services, "rabbitmq_test", tmp_path_factory.mktemp("rung"))
    own = {"CELERY_BROKER_URL": rabbit.url, "WORKER_CONCURRENCY": "1", "MODEL_PATH": small_model}
    own |= {"CELERY_RESULT_BACKEND": environment["REDIS_URL"].removesuffix("/0") + "/5"} | foreign.LOOPBACK
    with deploy(environment | own, services) as made:
        yield made


@pytest.fixture
def client(rung: Deployment) -> Iterator[httpx2.Client]:
    rung.wait_healthy()
    with rung.account() as client:
        yield client


@pytest.fixture
def publisher(rung: Deployment) -> Iterator[Publisher]:
    publisher = Publisher(rung.settings)
    yield publisher
    publisher.close()


@contextmanager
def channel(rabbit: Rabbit) -> Iterator[Any]:
    with Connection(rabbit.url) as connection:  # type: ignore[no-untyped-call]
        yield connection.default_channel


def test_pictures_go_through(rung: Deployment, client: httpx2.Client) -> None:
    task_ids = [upload(client, encoded(subject(300 + n, 300))) for n in range(4)]
    assert {item["status"] for item in wait_done(client, *task_ids)} == {"completed"}
    health = rung.health()
    assert (health["checks"]["broker"], health["checks"]["redis"]) == ("ok", "ok")
    assert health["details"]["broker"]["latency_ms"] > 0


def test_jobs_of_other_celery_clients_go_through(rung: Deployment, rabbit: Rabbit) -> None:
    """Whoever declares the queue first, they or our workers."""
    foreign.goes_through(rung)
    foreign.outlasts_a_passing_fault(rung)
    rung.stop("worker")
    with channel(rabbit) as door:
        door.queue_delete(FOREIGN)
    with foreign.pictures() as source:
        sent = foreign.submit(rung, "--pipeline", "constant", "--image-url", source.url)[0].strip()
        with channel(rabbit) as door:
            assert door.queue_declare(FOREIGN, passive=True).message_count == 1
        rung.start("worker")
        result = foreign.result(rung, sent)
    assert [detection["source_image_id"] for detection in result["detections"]] == ["1"]


def test_a_broker_that_crashes_keeps_what_it_was_told_and_what_it_loses_is_rung_again(
    rung: Deployment, rabbit: Rabbit, client: httpx2.Client, publisher: Publisher
) -> None:
    rung.stop("worker")
    task_ids = [upload(client, encoded(subject(200 + n, 200))) for n in range(4)]
    sessions = make_sessions(rung.engine)
    wait_for(lambda: all(row(sessions, each).dispatched_at for each in task_ids), "every bell was rung")
    rabbit.kill()
    rabbit.start()
    assert publisher.ready() == {"interactive": 4, "bulk": 0}
    with channel(rabbit) as door:
        for _ in range(2):
            assert door.basic_get("interactive", no_ack=True)
    rung.start("worker")
    done = wait_done(client, *task_ids)
    assert {(item["status"], item["attempt"]) for item in done} == {("completed", 1)}


def test_uploads_are_taken_in_while_the_broker_is_away(rung: Deployment, rabbit: Rabbit, client: httpx2.Client) -> None:
    """And the worker, which runs all the while, finds the broker again."""
    rabbit.kill()
    task_ids = [upload(client, encoded(subject(200 + n, 200))) for n in range(4)]
    wait_for(lambda: rung.health()["checks"].get("broker") == "error", "the matrix says that the broker is gone")
    assert rung.health()["status"] == "degraded"
    sessions = make_sessions(rung.engine)
    assert {row(sessions, each).status for each in task_ids} == {TaskStatus.QUEUED}
    rabbit.start()
    done = wait_done(client, *task_ids)
    assert {(item["status"], item["attempt"]) for item in done} == {("completed", 1)}


def test_a_queue_that_is_purged_or_deleted_is_empty(rung: Deployment, rabbit: Rabbit, publisher: Publisher) -> None:
    rung.stop("worker")
    for _ in range(3):
        publisher.publish(uuid4(), "interactive")
    assert publisher.ready()["interactive"] == 3
    with channel(rabbit) as door:
        assert door.queue_purge("interactive") == 3
        assert publisher.ready()["interactive"] == 0
        for name in QUEUES:
            door.queue_delete(name)
    assert publisher.ready() == {"interactive": 0, "bulk": 0}
