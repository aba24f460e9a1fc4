"""The Celery tasks that other programs may send."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Ignore, Reject, Retry
from celery.result import AsyncResult
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from app.core.config import Settings
from app.core.errors import AppError, InvalidRequest, TooManyRequests
from app.db import batches
from app.db.base import Sessions
from app.db.models import PipelineJob, Task
from app.services.accounts import Accounts
from app.services.backlog import BacklogFull
from app.services.health import Matrix
from app.services.jobs import Answers, JobRefused, Jobs
from app.services.parts import make_batches
from app.services.pipelines import Pipelines
from app.storage.memory import MemoryStore
from app.tasks import pipelines
from app.tasks.celery_app import FOREIGN, make_publisher_app, make_results_app, make_worker_app
from app.tasks.pipelines import FIRST_GAP, LONGEST_GAP, TRIES, gap, health_check, process_pipeline
from app.tasks.results import result_keeper
from tests.conftest import make_settings
from tests.factories import Silence, make_limits

NAMES = {"process_pipeline", "health_check", "api.tasks.process_pipeline", "api.tasks.health_check"}
REQUEST = {"pipeline": "random", "source_images": [{"id": "a", "url": "https://example.com/a.jpg"}]}
LOST = OperationalError("", {}, Exception())
BUSY = TooManyRequests("Wait.", retry_after=77)


class Requested:
    """A task in a worker's hands: what it is asked to do next is seen."""

    def __init__(self, retries: Any = 0, *, unsent: bool = False) -> None:
        self.request = type("Request", (), {"id": "job", "retries": retries})
        self.again: dict[str, Any] = {}
        self._unsent = unsent

    def retry(self, **how: Any) -> Any:
        self.again = how
        if self._unsent:
            raise Reject("the broker is away", requeue=False)
        return Retry()


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Jobs that fail so."""

    def fail(error: Exception) -> None:
        class Failing:
            def accept(self, *_: object, **how: object) -> None:
                raise error

        monkeypatch.setattr(pipelines, "runtime", lambda: type("Runtime", (), {"jobs": Failing()}))

    return fail


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(LOST, 5), (BUSY, 77), (BacklogFull("It is full.", retry_after=600), LONGEST_GAP)],
)
def test_a_passing_fault_sends_the_message_again(failing: Any, error: Exception, seconds: int) -> None:
    failing(error)
    task = Requested()
    with pytest.raises(Retry):
        process_pipeline(task, REQUEST)
    assert task.again == {"countdown": seconds, "queue": FOREIGN}


def test_a_message_that_cannot_be_sent_again_stays_where_it_is(failing: Any) -> None:
    failing(LOST)
    with pytest.raises(Reject) as kept:
        process_pipeline(Requested(unsent=True), REQUEST)
    assert kept.value.requeue


def test_there_is_a_last_try(failing: Any) -> None:
    failing(LOST)
    with pytest.raises(OperationalError):
        process_pipeline(Requested(TRIES), REQUEST)


def test_what_is_refused_is_a_plain_sentence(failing: Any) -> None:
    failing(JobRefused("No.", code="invalid_option"))
    with pytest.raises(ValueError, match=r"^No\.$") as told:
        process_pipeline(Requested(), REQUEST)
    assert type(told.value) is ValueError


def test_gaps_grow_and_last_for_a_day(settings: Settings) -> None:
    gaps = [gap(number, LOST) for number in range(TRIES)]
    assert gaps[:8] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert 86_400 <= sum(gaps) < 90_000
    # Else the broker would hand a message out again that a worker holds.
    assert settings.timing.visibility_timeout > LONGEST_GAP
    assert gap(0, InvalidRequest("No.")) == FIRST_GAP


# ---- the real ones, on the real database


@pytest.fixture
def kept_at(environment: dict[str, str]) -> Settings:
    return make_settings(environment, celery_result_backend=environment["REDIS_URL"].removesuffix("/0") + "/6")


@pytest.fixture
def worker(kept_at: Settings) -> Iterator[Celery]:
    app = make_worker_app(kept_at)
    yield app
    app.close()


@pytest.fixture
def jobs(settings: Settings, sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    taking = make_batches(settings, sessions, MemoryStore(), Silence(), make_limits(settings))
    made = Jobs(sessions, Accounts(settings, sessions), taking)
    monkeypatch.setattr(pipelines, "runtime", lambda: type("Runtime", (), {"jobs": made}))
    return made


def test_a_job_leaves_its_worker_at_once_and_its_client_gets_the_result_later(
    jobs: Jobs, sessions: Sessions, kept_at: Settings
) -> None:
    with pytest.raises(Ignore):
        process_pipeline(Requested(), REQUEST)
    with sessions.begin() as session:
        assert session.scalars(select(PipelineJob.id)).all() == ["job"]
        session.execute(update(Task).values(status="cancelled", finished_at=Task.created_at))
        batches.finish_ended(session)
    with make_results_app(kept_at) as client:
        waiting = AsyncResult("job", app=client)
        assert waiting.status == "PENDING"
        answers = Answers(sessions, Pipelines(sessions, jobs.batches.statuses), result_keeper(kept_at))
        assert answers.give() == 1
        told = waiting.get(timeout=10)
        assert [error["code"] for error in told["errors"]] == ["task_cancelled"]
        client.backend.client.flushdb()


def test_both_names_are_known_and_their_results_kept(worker: Celery, kept_at: Settings) -> None:
    worker.loader.import_default_modules()
    assert set(worker.tasks) >= NAMES
    for name in NAMES:
        task = worker.tasks[name]
        assert (task.ignore_result, task.acks_late, task.reject_on_worker_lost) == (False, True, True)
    assert worker.conf.task_ignore_result
    assert kept_at.celery_result_backend is not None
    assert worker.conf.result_backend == kept_at.celery_result_backend.get_secret_value()
    assert make_publisher_app(kept_at).conf.result_backend is None
    assert not worker.conf.task_create_missing_queues


def test_what_cannot_be_told_is_a_failure(kept_at: Settings) -> None:
    keep = result_keeper(kept_at)
    assert keep is not None
    keep("job", AppError("Of no use."))
    with make_results_app(kept_at) as client:
        with pytest.raises(ValueError, match=r"^Of no use\.$"):
            AsyncResult("job", app=client).get(timeout=10)
        client.backend.client.flushdb()


@pytest.mark.parametrize("retries", [-1, "x", None, 1.5])
def test_a_number_of_tries_has_to_be_one(retries: Any) -> None:
    with pytest.raises(ValueError, match=r"^retries: "):
        process_pipeline(Requested(retries), REQUEST)


def test_without_a_backend_nothing_is_kept(settings: Settings) -> None:
    assert result_keeper(settings) is None
    assert make_worker_app(settings).conf.result_backend is None


def test_a_backend_that_is_away_is_not_waited_for_long(environment: dict[str, str]) -> None:
    keep = result_keeper(make_settings(environment, celery_result_backend="redis://127.0.0.1:9/0"))
    assert keep is not None
    with pytest.raises(Exception, match=r"(?i)connect|retry"):
        keep("job", {})


def test_a_backend_with_tls_asks_for_a_certificate(environment: dict[str, str]) -> None:
    made = make_results_app(make_settings(environment, celery_result_backend="rediss://:p@127.0.0.1:9/0"))
    assert made.backend.connparams["ssl_cert_reqs"] == 2  # ssl.CERT_REQUIRED


def test_health_is_the_matrix_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Matrix("degraded", {"api": "ok", "redis": "error"}, {})
    health = type("Health", (), {"matrix": lambda self: found})()
    monkeypatch.setattr(pipelines, "runtime", lambda: type("Runtime", (), {"health": health}))
    told = health_check(Requested())
    assert (told["status"], told["checks"]) == ("degraded", {"api": "ok", "redis": "error"})
