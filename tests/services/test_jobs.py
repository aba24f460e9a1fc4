"""Jobs of other Celery clients: taken in once, and answered once."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import DataError, OperationalError

from app.core.config import Settings
from app.core.errors import AppError, InvalidRequest, TooManyRequests
from app.db import batches, users
from app.db.base import Sessions
from app.db.models import Batch, PipelineJob, Task, User, WebhookDelivery
from app.services.accounts import CELERY, Accounts
from app.services.backlog import BacklogFull
from app.services.batches import Batches
from app.services.jobs import AT_ONCE, Answers, JobRefused, Jobs, Told, is_passing
from app.services.parts import make_batches
from app.services.pipelines import Pipelines
from app.services.retention import Retention
from app.storage.memory import MemoryStore
from tests.conftest import make_settings
from tests.factories import Silence, ago, make_limits, make_task
from tests.outbound.sites import ok, saying, site
from tests.pictures import encoded
from tests.services.test_processing import Bench

REQUEST = {"pipeline": "random", "source_images": [{"id": "a", "url": "https://example.com/a.jpg"}], "config": {}}
HOOK = "https://shop.example.com/done"


@pytest.fixture
def near(environment: dict[str, str]) -> Settings:
    return make_settings(environment, outbound_allowed_networks="127.0.0.0/8", max_batch_files=AT_ONCE + 1)


@pytest.fixture
def bench(near: Settings, sessions: Sessions, tmp_path: Any) -> Bench:
    return Bench(near, sessions, tmp_path)


@pytest.fixture
def jobs(near: Settings, sessions: Sessions, bench: Bench) -> Jobs:
    taking = make_batches(near, sessions, bench.store, Silence(), make_limits(near))
    return Jobs(sessions, Accounts(near, sessions), taking)


@pytest.fixture
def kept() -> dict[str, Any]:
    return {}


@pytest.fixture
def answers(sessions: Sessions, jobs: Jobs, kept: dict[str, Any]) -> Answers:
    return Answers(sessions, Pipelines(sessions, jobs.batches.statuses), kept.__setitem__)


def accept(jobs: Jobs, job_id: str = "job", request: object = REQUEST, callback: object = None) -> None:
    jobs.accept(job_id, request, callback, is_last_try=False)


def rows(sessions: Sessions, table: Any) -> list[Any]:
    with sessions.begin() as session:
        return list(session.scalars(select(table)))


def end(sessions: Sessions, bench: Bench) -> None:
    """The workers do what there is, and the sweeper sees that it is done."""
    for task in rows(sessions, Task):
        bench.process(task.id)
    with sessions.begin() as session:
        batches.finish_ended(session)


# ---- taken in


def test_a_job_becomes_a_batch_of_the_houses_account(jobs: Jobs, sessions: Sessions) -> None:
    accept(jobs, callback=HOOK)
    (job,), (batch,), (task,) = (rows(sessions, table) for table in (PipelineJob, Batch, Task))
    with sessions.begin() as session:
        user = users.by_email(session, CELERY)
    assert user is not None
    assert (job.id, job.batch_id, job.callback_url, job.answered_at) == ("job", batch.id, HOOK, None)
    assert job.request["source_images"] == REQUEST["source_images"]
    assert (batch.user_id, task.operation, task.queue, task.request_id) == (user.id, "random", "interactive", "job")


def test_its_message_may_come_twice(jobs: Jobs, sessions: Sessions) -> None:
    accept(jobs)
    accept(jobs)
    with sessions.begin() as session:
        session.execute(delete(PipelineJob))  # the process died between the two
    accept(jobs)
    assert [len(rows(sessions, table)) for table in (PipelineJob, Batch, Task)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (None, "invalid_request"),
        ("text", "invalid_request"),
        ({**REQUEST, "source_images": []}, "invalid_request"),
        ({**REQUEST, "pipeline": "nonsense\0"}, "unknown_pipeline"),
        ({**REQUEST, "pipeline": "\ud800"}, "invalid_request"),
        ({**REQUEST, "config": {"format": "gif"}}, "invalid_option"),
        ({**REQUEST, "config": {"\0": "\ud800"}}, "invalid_option"),
        ({**REQUEST, "config": {"recipe": "none-such"}}, "recipe_not_found"),
        ({**REQUEST, "source_images": [{"id": "a", "url": "ftp://example.com/"}]}, "batch_empty"),
    ],
)
def test_what_makes_no_sense_is_refused_and_whoever_waits_is_told(
    jobs: Jobs, sessions: Sessions, request_: object, code: str
) -> None:
    for _ in range(2):
        with pytest.raises(JobRefused) as refused:
            accept(jobs, request=request_, callback=HOOK)
        assert refused.value.code == code
    (message,) = rows(sessions, WebhookDelivery)
    assert (message.url, message.type) == (HOOK, "pipeline.failed")
    assert message.payload["error"]["code"] == code
    assert message.payload["error"]["detail"]
    assert rows(sessions, PipelineJob) == []


@pytest.mark.parametrize("callback", ["nonsense", "http://user:password@example.com/", 7, ["https://example.com/"]])
def test_a_callback_that_is_no_url_is_refused(jobs: Jobs, sessions: Sessions, callback: object) -> None:
    with pytest.raises(JobRefused, match=r"^callback_url: ") as refused:
        accept(jobs, callback=callback)
    assert refused.value.code == "invalid_url"
    assert [rows(sessions, table) for table in (Batch, WebhookDelivery)] == [[], []]


@pytest.mark.parametrize("job_id", ["", "ä", "a\0", "a" * 256])
def test_an_id_has_to_be_one(jobs: Jobs, job_id: str) -> None:
    with pytest.raises(JobRefused, match="id must have"):
        accept(jobs, job_id)


def test_a_disabled_account_takes_nothing(jobs: Jobs, sessions: Sessions) -> None:
    jobs.accounts.of_the_house(CELERY)
    with sessions.begin() as session:
        session.execute(update(User).where(User.email == CELERY).values(is_active=False))
    with pytest.raises(JobRefused) as refused:
        accept(jobs, callback=HOOK)
    assert (refused.value.code, rows(sessions, WebhookDelivery)) == ("account_disabled", [])


def test_a_full_queue_is_a_passing_fault_until_the_last_try(jobs: Jobs, sessions: Sessions) -> None:
    accept(jobs, "before")
    full = make_settings_of(jobs, max_backlog_seconds=1)
    for n in range(3):
        make_task(sessions, rows(sessions, User)[0].id, age=n)
    with pytest.raises(BacklogFull):
        accept(full)
    assert [job.id for job in rows(sessions, PipelineJob)] == ["before"]
    with pytest.raises(JobRefused) as refused:
        full.accept("job", REQUEST, HOOK, is_last_try=True)
    assert refused.value.code == "backlog_full"
    assert [message.payload["error"]["code"] for message in rows(sessions, WebhookDelivery)] == ["backlog_full"]


def test_a_time_limit_is_a_passing_fault_until_the_last_try(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    class Timeout(Exception):
        pass

    def late(*_: object) -> None:
        raise Timeout

    monkeypatch.setattr(Batches, "submit", late)
    limited = replace(jobs, timeouts=(Timeout,))
    with pytest.raises(Timeout):
        accept(limited)
    for of, is_last in ((limited, True), (jobs, False)):
        with pytest.raises(JobRefused, match="internal error"):
            of.accept("job", REQUEST, None, is_last_try=is_last)


def make_settings_of(jobs: Jobs, **changes: Any) -> Jobs:
    """The same with other settings."""
    settings = jobs.batches.settings.model_copy(update=changes)
    taking = make_batches(settings, jobs.sessions, jobs.batches.store, Silence(), make_limits(settings))
    return Jobs(jobs.sessions, jobs.accounts, taking)


def test_what_may_pass() -> None:
    for error in (
        OperationalError("", {}, Exception()),
        BacklogFull("It is full."),
        TooManyRequests("Too many.", retry_after=5),
    ):
        assert is_passing(error)
    for other in (DataError("", {}, Exception()), InvalidRequest("No."), ValueError("A bug.")):
        assert not is_passing(other)


# ---- answered


def test_a_job_is_answered_when_its_batch_has_ended(
    jobs: Jobs, answers: Answers, sessions: Sessions, bench: Bench, kept: dict[str, Any]
) -> None:
    with site(saying(ok(encoded()))) as there:
        images = [{"id": "a", "url": there.url}, {"id": "b", "url": "ftp://example.com/"}]
        accept(jobs, request=REQUEST | {"source_images": images}, callback=HOOK)
        assert (answers.give(), kept) == (0, {})
        end(sessions, bench)
    assert (answers.give(), answers.give()) == (1, 0)
    told = kept["job"]
    assert told["source_images"] == images
    assert [each["source_image_id"] for each in told["detections"]] == ["a"]
    assert told["detections"][0]["crop_image_url"].startswith("memory://processed/")
    assert [(each["source_image_id"], each["code"]) for each in told["errors"]] == [("b", "invalid_url")]
    (message,), (job,) = rows(sessions, WebhookDelivery), rows(sessions, PipelineJob)
    assert (message.url, message.type, message.batch_id) == (HOOK, "pipeline.completed", job.batch_id)
    assert message.payload == told
    assert (job.answered_at is not None, job.request) == (True, {})


def test_a_backend_that_is_away_is_asked_again_and_holds_no_callback_up(
    jobs: Jobs, answers: Answers, sessions: Sessions, kept: dict[str, Any]
) -> None:
    def fail(job_id: str, told: Told) -> None:
        raise ConnectionError(job_id)

    for number in range(AT_ONCE + 2):
        accept(jobs, str(number), callback=HOOK)
    end_as_failed(sessions)
    for number in (AT_ONCE, AT_ONCE + 2, AT_ONCE + 2):
        with pytest.raises(ConnectionError):
            Answers(sessions, answers.pipelines, fail).give()
        assert len(rows(sessions, WebhookDelivery)) == number
    assert {job.answered_at for job in rows(sessions, PipelineJob)} == {None}
    assert (answers.give(), answers.give()) == (AT_ONCE, 2)
    assert len(rows(sessions, WebhookDelivery)) == len(kept) == AT_ONCE + 2


def test_a_job_that_cannot_be_told_is_answered_with_an_error(
    jobs: Jobs, answers: Answers, sessions: Sessions, kept: dict[str, Any]
) -> None:
    accept(jobs, callback=HOOK)
    end_as_failed(sessions)
    with sessions.begin() as session:
        session.execute(update(PipelineJob).values(request={"pipeline": "random", "source_images": []}))
    assert (answers.give(), answers.give()) == (1, 0)
    told = kept["job"]
    assert isinstance(told, AppError)
    (message,) = rows(sessions, WebhookDelivery)
    error = {"code": "internal_error", "detail": told.message}
    assert (message.type, message.payload) == ("pipeline.failed", {"pipeline": "random", "error": error})


def end_as_failed(sessions: Sessions) -> None:
    ended = {"status": "failed", "error_code": "url_not_fetched", "error_message": "Away.", "finished_at": func.now()}
    with sessions.begin() as session:
        session.execute(update(Task).values(**ended))
        batches.finish_ended(session)


def test_two_who_answer_tell_it_once(jobs: Jobs, answers: Answers, sessions: Sessions, kept: dict[str, Any]) -> None:
    accept(jobs, callback=HOOK)
    end_as_failed(sessions)

    def meanwhile(job_id: str, told: Told) -> None:
        assert answers.give() == 1

    assert Answers(sessions, answers.pipelines, meanwhile).give() == 0
    assert len(rows(sessions, WebhookDelivery)) == 1


def test_without_a_backend_and_a_callback_it_is_over_all_the_same(
    jobs: Jobs, answers: Answers, sessions: Sessions
) -> None:
    accept(jobs)
    end_as_failed(sessions)
    assert Answers(sessions, answers.pipelines, None).give() == 1
    assert rows(sessions, WebhookDelivery) == []


def test_an_image_that_was_deleted_meanwhile_is_an_error(
    jobs: Jobs, answers: Answers, sessions: Sessions, kept: dict[str, Any]
) -> None:
    accept(jobs)
    end_as_failed(sessions)
    with sessions.begin() as session:
        session.execute(update(Task).values(status="expired", deleted_at=func.now()))
    assert answers.give() == 1
    assert [(each["source_image_id"], each["code"]) for each in kept["job"]["errors"]] == [("a", "task_expired")]


def test_a_number_of_them_at_a_time(jobs: Jobs, answers: Answers, sessions: Sessions) -> None:
    for number in range(AT_ONCE + 1):
        accept(jobs, str(number))
    end_as_failed(sessions)
    assert (answers.give(), answers.give(), answers.give()) == (AT_ONCE, 1, 0)


def test_answered_jobs_go_after_a_month(jobs: Jobs, settings: Settings, sessions: Sessions) -> None:
    for name in ("old", "young", "waiting"):
        accept(jobs, name)
    with sessions.begin() as session:
        for name, days in (("old", 30.01), ("young", 29.99)):
            session.execute(update(PipelineJob).where(PipelineJob.id == name).values(answered_at=ago(days * 86_400)))
        session.execute(update(PipelineJob).values(created_at=ago(90 * 86_400)))
    Retention(settings, sessions, MemoryStore()).clean()
    assert {job.id for job in rows(sessions, PipelineJob)} == {"young", "waiting"}
    assert len(rows(sessions, Batch)) == 3
