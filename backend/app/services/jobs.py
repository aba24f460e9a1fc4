"""Jobs that other Celery clients send: each becomes a batch, and is answered when that has ended.

The message is the only record of a job until its row is there. It may come twice, and makes one batch.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from pydantic import ValidationError
from sqlalchemy.exc import DataError, SQLAlchemyError

from app.core.errors import AppError, Forbidden, InvalidRequest, ServiceUnavailable, TooManyRequests
from app.core.logging import get_logger
from app.core.validation import sentence
from app.db import pipelines
from app.db.base import Sessions
from app.db.models import PipelineJob
from app.services.accounts import CELERY, Accounts
from app.services.batches import Batches, Wanted
from app.services.idempotency import KEY
from app.services.pipelines import PipelineRequest, Pipelines, SourceImage
from app.services.webhooks import checked

AT_ONCE = 20  # answers
LONGEST = 1000  # characters of what is said of a job that is refused
DELIVERIES = UUID("5f0ad9a5-8c0f-4a60-9d0e-5b9a3d0f6a51")  # one delivery for each job: its id is made out of the job's

ADDRESSES = 86_400  # seconds that a result's addresses hold at least: a callback is tried for a day

Told = dict[str, Any] | AppError  # what a job has come to; an error: that cannot be told
KeepResult = Callable[[str, Told], None]  # for the client to fetch; raises when the backend does not answer

log = get_logger(__name__)


class JobRefused(AppError):
    """The job is not taken in, and never will be: it has been told so."""


def is_passing(error: Exception) -> bool:
    """Whether the same may be done later."""
    if isinstance(error, SQLAlchemyError):
        return not isinstance(error, DataError)
    # The other one is the same message, which somebody else is still at work on.
    is_held = isinstance(error, AppError) and error.code == "idempotency_key_in_use"
    return is_held or isinstance(error, ServiceUnavailable | TooManyRequests)


@dataclass(frozen=True)
class Jobs:
    """Taking in: the use case with the parts that it works on. `timeouts` are what the runtime raises at its limit."""

    sessions: Sessions
    accounts: Accounts
    batches: Batches
    timeouts: tuple[type[Exception], ...] = ()

    def accept(self, job_id: str, asked: object, callback_url: object, *, is_last_try: bool) -> None:
        """Submit the job's batch, unless that has been done. Raises `JobRefused`, or what may pass."""
        try:
            self._accept(job_id, asked, callback_url)
        except Exception as error:
            if not is_last_try and (is_passing(error) or isinstance(error, self.timeouts)):
                raise
            raise self._refuse(job_id, asked, callback_url, error) from error

    def _accept(self, job_id: str, asked: object, callback_url: object) -> None:
        if not KEY.fullmatch(job_id):
            raise InvalidRequest("The task's id must have 1 to 255 printable ASCII characters.")
        request = _read(asked)
        callback = _read_callback(callback_url)
        with self.sessions.begin() as session:
            if pipelines.has(session, job_id):
                log.info("job_came_twice", job_id=job_id)
                return
        user = self.accounts.of_the_house(CELERY)
        images, fields = request.read(self.batches.settings)
        wanted = Wanted(fields, request_id=job_id, idempotency_key=job_id)
        batch_id, _ = self.batches.submit(user, images, wanted)
        kept = request.model_dump(include={"pipeline", "source_images"})
        with self.sessions.begin() as session:
            pipelines.add(session, job_id, batch_id, kept, callback)
        log.info("job_taken_in", job_id=job_id, batch_id=str(batch_id), images=len(images))

    def _refuse(self, job_id: str, asked: object, callback_url: object, error: Exception) -> JobRefused:
        if isinstance(error, AppError):
            refused = JobRefused(error.message, code=error.code)
        else:
            log.error("job_crashed", job_id=job_id, exc_info=error)
            refused = JobRefused("The job could not be taken in because of an internal error.")
        log.warning("job_refused", job_id=job_id, code=refused.code, reason=refused.message)
        with suppress(InvalidRequest, Forbidden):  # nobody can be called back, or by nobody
            if (callback := _read_callback(callback_url)) is not None:
                self._call_back(job_id, callback, asked, refused)
        return refused

    def _call_back(self, job_id: str, url: str, asked: object, refused: JobRefused) -> None:
        user = self.accounts.of_the_house(CELERY)
        with self.sessions.begin() as session:
            pipelines.tell(session, _delivery_id(job_id), user.id, url, *_message(asked, refused))


@dataclass(frozen=True)
class Answers:
    """Answering: likewise. Any number of processes may do it. `keep_result`: None where nobody fetches results."""

    sessions: Sessions
    pipelines: Pipelines
    keep_result: KeepResult | None

    def give(self) -> int:
        """Answer jobs whose batches have ended, a number of them; returns how many.

        All are called back before any result is kept: a backend that is away holds no callback up.
        """
        with self.sessions.begin() as session:
            jobs = pipelines.ended(session, limit=AT_ONCE)
        told = [(job, self._told(job)) for job in jobs]
        for job, what in told:
            if job.callback_url is not None:
                self._call_back(job, job.callback_url, what)
        return sum(self._finish(job, what) for job, what in told)

    def _told(self, job: PipelineJob) -> Told:
        try:
            images = [SourceImage.model_construct(**image) for image in job.request["source_images"]]
            return self.pipelines.outcome(job.batch_id, job.request["pipeline"], images, at_least=ADDRESSES).told
        except Exception as error:
            if is_passing(error):
                raise
            log.exception("job_not_told", job_id=job.id)  # it must not hold up those behind it
            return AppError("What the job has come to cannot be told because of an internal error.")

    def _call_back(self, job: PipelineJob, url: str, told: Told) -> None:
        with self.sessions.begin() as session:
            user_id = pipelines.batch(session, job.batch_id).user_id
            said = _message(job.request, told)
            pipelines.tell(session, _delivery_id(job.id), user_id, url, *said, job.batch_id)
            pipelines.forget_callback(session, job.id)

    def _finish(self, job: PipelineJob, told: Told) -> bool:
        if self.keep_result is not None:
            self.keep_result(job.id, told)  # first: it may be done twice
        with self.sessions.begin() as session:
            if not pipelines.answer(session, job.id):
                return False
        log.info("job_answered", job_id=job.id, batch_id=str(job.batch_id))
        return True


def _message(asked: object, told: Told) -> tuple[str, dict[str, Any]]:
    """A callback's type and its body."""
    if not isinstance(told, AppError):
        return "pipeline.completed", told
    named = asked.get("pipeline") if isinstance(asked, dict) else None
    return "pipeline.failed", {
        "pipeline": _plain(named) if isinstance(named, str) else None,
        "error": {"code": told.code, "detail": _plain(told.message)},
    }


def _read(asked: object) -> PipelineRequest:
    try:
        return PipelineRequest.model_validate(asked)
    except ValidationError as error:
        raise InvalidRequest(sentence(error.errors(), quote=False)) from error


def _read_callback(url: object) -> str | None:
    if url is None or url == "":
        return None
    if not isinstance(url, str):
        raise InvalidRequest("callback_url: a URL is expected.", code="invalid_url")
    return checked(url, "callback_url")


def _delivery_id(job_id: str) -> UUID:
    return uuid5(DELIVERIES, job_id)


def _plain(text: str) -> str:
    """What a text of strangers looks like where not every character can be kept."""
    return text[:LONGEST].encode(errors="replace").decode().replace("\x00", "?")
