"""A Celery client that knows nothing of us: `scripts/submit_job.py`, in a process that sees no package of ours."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from celery import Celery
from sqlalchemy import func, select

from app.core.config import PROJECT_ROOT
from app.db import idempotency as db_idempotency
from app.db.base import make_sessions
from app.db.models import Batch, User
from app.services import idempotency
from app.services.accounts import CELERY, Accounts
from app.services.batches import ROUTE
from app.services.webhooks import Webhooks
from app.tasks.celery_app import FOREIGN
from tests.e2e.conftest import Deployment
from tests.embedded_services import wait_for
from tests.outbound.sites import Site, ok, saying, site
from tests.pictures import encoded, subject
from tests.webhooks.messages import OK, received

SCRIPT = PROJECT_ROOT / "scripts" / "submit_job.py"
LOOPBACK = {"OUTBOUND_ALLOWED_NETWORKS": "127.0.0.0/8"}
PATIENCE = 60  # seconds
HIDDEN = "in-the-address"
PICTURE = ok(encoded(subject(200, 160)))
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def submit(deployment: Deployment, *arguments: str, code: int = 0) -> tuple[str, str]:
    """What it has said, and what it has complained of."""
    backend = deployment.settings.celery_result_backend
    assert backend is not None
    urls = "--broker-url", deployment.settings.broker_url, "--result-backend", backend.get_secret_value()
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), *urls, *arguments],
        cwd=Path("/"),
        env={},
        capture_output=True,
        text=True,
        timeout=PATIENCE + 30,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def job(deployment: Deployment, *arguments: str) -> tuple[str, dict[str, Any]]:
    """Its id, and its result."""
    said, _ = submit(deployment, *arguments, "--wait", str(PATIENCE))
    job_id, _, result = said.partition("\n")
    return job_id, json.loads(result)


@contextmanager
def pictures() -> Iterator[Site]:
    """A server of pictures; what is called missing is not there."""

    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(NOT_FOUND if b"missing" in head.partition(b"\r\n")[0] else PICTURE)

    with site(answer) as running:
        yield running


def goes_through(deployment: Deployment) -> None:
    """A job with an image that is there and one that is not: the client gets its result, and is called back."""
    with pictures() as source, site(saying(OK)) as there:
        missing = f"http://127.0.0.1:{source.port}/missing.png"
        here, back = f"{source.url}?token={HIDDEN}", f"{there.url}?token={HIDDEN}"
        images = "--image-url", here, "--image-url", missing
        asked = "--pipeline", "random", *images, "--callback-url", back, "--config", '{"format": "webp"}'
        job_id, result = job(deployment, *asked)
        wait_for(lambda: len(there.requests) > 0, "the client is called back", seconds=PATIENCE)
    assert job_id
    assert result["source_images"] == [{"id": "1", "url": here}, {"id": "2", "url": missing}]
    (detection,) = result["detections"]
    assert (detection["source_image_id"], detection["algorithm"]["key"]) == ("1", "random")
    assert "X-Amz-Expires=86400&" in detection["crop_image_url"]
    picture = httpx2.get(detection["crop_image_url"])
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/webp")
    assert [(error["source_image_id"], error["code"]) for error in result["errors"]] == [("2", "url_not_fetched")]
    (message,) = received(there)
    assert message.verified(secret(deployment)) == result
    for name in ("api", "worker", "sweeper"):
        assert HIDDEN not in deployment.log(name).read_text()


def outlasts_a_passing_fault(deployment: Deployment) -> None:
    """A job that cannot be taken in at the moment: the message is sent again, and is taken in then."""
    sessions, task_id = make_sessions(deployment.engine), str(uuid4())
    log = deployment.log("worker")
    with pictures() as source, ThreadPoolExecutor(1) as pool:
        request = {"pipeline": "random", "source_images": [{"id": "a", "url": source.url}]}
        sent = {
            "parts": [{"image_url": source.url}],
            "fields": {"priority": "interactive", "operation": "random"},
            "name": None,
        }
        once = idempotency.once(_account(deployment).id, ROUTE, task_id, sent)
        with sessions.begin() as session:  # somebody else is at work on the same message
            assert db_idempotency.hold(session, once) is None
        waiting = pool.submit(send, deployment, "process_pipeline", request, task_id=task_id)
        wait_for(
            lambda: task_id in log.read_text() and "job_put_off" in log.read_text(), "it is put off", seconds=PATIENCE
        )
        with sessions.begin() as session:
            assert db_idempotency.release(session, once)
        told = waiting.result(timeout=PATIENCE)
    assert [each["source_image_id"] for each in told["detections"]] == ["a"]


def secret(deployment: Deployment) -> str:
    """What the callbacks are signed with."""
    return Webhooks(make_sessions(deployment.engine)).signing(_account(deployment).id).secret


def _account(deployment: Deployment) -> User:
    return Accounts(deployment.settings, make_sessions(deployment.engine)).of_the_house(CELERY)


def send(deployment: Deployment, name: str, *arguments: Any, task_id: str | None = None) -> dict[str, Any]:
    """The result of a task of that name, sent as any client sends it."""
    with _client(deployment) as app:
        told: dict[str, Any] = app.send_task(name, args=arguments, task_id=task_id).get(timeout=PATIENCE)
    return told


def publish(deployment: Deployment, body: bytes, headers: dict[str, Any]) -> None:
    """A message as it is, whatever Celery makes of it."""
    with _client(deployment) as app, app.producer_or_acquire() as producer:
        producer.publish(
            body,
            exchange=FOREIGN,
            routing_key=FOREIGN,
            headers=headers,
            content_type="application/json",
            content_encoding="utf-8",
        )


def result(deployment: Deployment, task_id: str) -> dict[str, Any]:
    """Of a task that was sent before."""
    with _client(deployment) as app:
        told: dict[str, Any] = app.AsyncResult(task_id).get(timeout=PATIENCE)
    return told


@contextmanager
def _client(deployment: Deployment) -> Iterator[Celery]:
    backend = deployment.settings.celery_result_backend
    assert backend is not None
    app = Celery(broker=deployment.settings.broker_url, backend=backend.get_secret_value(), set_as_current=False)
    with app:
        yield app


def batches(deployment: Deployment) -> int:
    with make_sessions(deployment.engine).begin() as session:
        return session.scalar(select(func.count()).select_from(Batch)) or 0
