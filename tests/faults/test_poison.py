"""Pictures that take their worker down with them: they alone fail, for what they did, after four attempts."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import func, update

from app.db.base import make_sessions
from app.db.models import Task
from tests.conftest import make_environment
from tests.e2e.conftest import Deployment, deploy, small_model, task, wait_done
from tests.embedded_services import RunningServices
from tests.factories import change
from tests.pictures import encoded, subject

__all__ = ["small_model"]

pytestmark = pytest.mark.xdist_group("faults")

LEASE = 5
POISON = {
    "kill": "downloaded@kill=kill",
    "memory": "claimed@memory=raise:MemoryError",
    "hoard": "decoding@hoard=hoard:8192",
    "spin": "inferring@spin=spin:600",
}
OVER = {"completed", "failed"}
NUMBER = count()


@dataclass
class Outcome:
    """What became of them all. `seconds` of each attempt, until its task was given back, by name."""

    poisoned: dict[str, dict[str, Any]]
    seconds: dict[str, list[float]]
    good: list[dict[str, Any]]
    survived: bool


@pytest.fixture(scope="module")
def outcome(services: RunningServices, small_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    environment = make_environment(services, "poison_test", tmp_path_factory.mktemp("poison")) | {
        "MODEL_PATH": small_model,
        "WORKER_CONCURRENCY": "2",
        "LEASE_SECONDS": str(LEASE),
        "TASK_TIMEOUT_SECONDS": "12",
        "TASK_RETRY_DELAY_SECONDS": "0.2",
        "WORKER_MEMORY_LIMIT_BYTES": str(1 << 30),
        "FAILPOINTS": ";".join(POISON.values()),
    }
    environment["REDIS_URL"] = environment["REDIS_URL"].removesuffix("/0") + "/7"
    with deploy(environment, services) as deployment, deployment.account() as client:
        yield poison(deployment, client)


def poison(deployment: Deployment, client: httpx2.Client) -> Outcome:
    """Send them all at once, and good ones among them until they are over."""
    sessions = make_sessions(deployment.engine)
    ids = {name: send(client, name) for name in POISON}
    # Each attempt takes the whole hard limit: one of it has to do.
    change(sessions, ids["spin"], max_retries=0)
    good: list[UUID] = []
    while not all(is_over(client, each) for each in ids.values()):
        with sessions.begin() as session:  # the wait between attempts is not what is tested
            session.execute(update(Task).where(Task.status == "retrying").values(run_at=func.now()))
        beside = [send(client, "good") for _ in range(3)]
        wait_done(client, *beside)
        good += beside
    return Outcome(
        {name: task(client, each) for name, each in ids.items()},
        {name: attempts(deployment, each) for name, each in ids.items()},
        [task(client, each) for each in good],
        deployment.processes["worker"].poll() is None,
    )


def send(client: httpx2.Client, mark: str) -> UUID:
    # No two are alike: a kept matte would answer for a picture that is never inferred.
    files = {"file": ("photo.jpg", encoded(subject(200 + next(NUMBER), 200)))}
    answer = client.post("/api/v1/uploads", files=files, headers={"X-Request-ID": mark}, data={"refine": "false"})
    assert answer.status_code == 202, answer.text
    return UUID(answer.json()["task_id"])


def is_over(client: httpx2.Client, task_id: UUID) -> bool:
    return task(client, task_id)["status"] in OVER


def attempts(deployment: Deployment, task_id: UUID) -> list[float]:
    sql = """
        SELECT extract(epoch FROM min(at) FILTER (WHERE status <> 'processing') - min(at))
        FROM task_events WHERE task_id = %s AND attempt > 0 GROUP BY attempt ORDER BY attempt
    """
    with deployment.engine.connect() as connection:
        return [float(seconds) for (seconds,) in connection.exec_driver_sql(sql, (task_id,))]


@pytest.mark.parametrize(
    ("name", "code", "tries", "longest"),
    [
        ("kill", "worker_lost", 4, LEASE - 1),
        ("memory", "oom", 4, LEASE - 1),
        ("hoard", "oom", 4, 12),
        ("spin", "timeout", 1, 34),
    ],
)
def test_a_poisonous_picture_fails_for_what_it_did(
    outcome: Outcome, name: str, code: str, tries: int, longest: float
) -> None:
    done = outcome.poisoned[name]
    assert (done["status"], done["error_code"], done["attempt"]) == ("failed", code, tries)
    assert done["error_message"]
    # Much sooner than a lease runs out: the main process saw it happen.
    assert len(outcome.seconds[name]) == tries
    assert max(outcome.seconds[name]) < longest


def test_the_worker_and_the_pictures_beside_them_go_on(outcome: Outcome) -> None:
    assert outcome.survived
    assert len(outcome.good) >= 6
    assert {(done["status"], done["attempt"]) for done in outcome.good} == {("completed", 1)}
