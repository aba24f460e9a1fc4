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

KeepResult = Callable[[str, dict[str, Any]], None]  # for the client to fetch; raises when the backend does not answer

log = get_logger(__name__)


class JobRefused(AppError):
    """The job is not taken in, and never will be: it has been told so."""


def is_passing(error: Exception) -> bool:
    """Whether the same job may be taken in later."""
    if isinstance(error, SQLAlchemyError):
        return not isinstance(error, DataError)
    # The other one is the same message, which somebody else is still at work on.
    is_held = isinstance(error, AppError) and error.code == "idempotency_key_in_use"
    return is_held or isinstance(error, ServiceUnavailable | TooManyRequests)


@dataclass(frozen=True)
class Jobs:
    """Taking in: the use case with the parts that it works on."""

    sessions: Sessions
    accounts: Accounts
    batches: Batches

    def accept(self, job_id: str, asked: object, callback_url: object, *, is_last_try: bool) -> None:
        """Submit the job's batch, unless that has been done. Raises `JobRefused`, or a passing error."""
        try:
            self._accept(job_id, asked, callback_url)
        except Exception as error:
            if is_passing(error) and not is_last_try:
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
        named = asked.get("pipeline") if isinstance(asked, dict) else None
        payload = {
            "pipeline": _plain(named) if isinstance(named, str) else None,
            "error": {"code": refused.code, "detail": _plain(refused.message)},
        }
        user = self.accounts.of_the_house(CELERY)
        with self.sessions.begin() as session:
            pipelines.tell(session, _delivery_id(job_id), user.id, url, "pipeline.failed", payload)


@dataclass(frozen=True)
class Answers:
    """Answering: likewise. Any number of processes may do it. `keep_result`: None where nobody fetches results."""

    sessions: Sessions
    pipelines: Pipelines
    keep_result: KeepResult | None

    def give(self) -> int:
        """Answer jobs whose batches have ended, a number of them; returns how many."""
        with self.sessions.begin() as session:
            jobs = pipelines.ended(session, limit=AT_ONCE)
        return sum(self._answer(job) for job in jobs)

    def _answer(self, job: PipelineJob) -> bool:
        try:
            images = [SourceImage.model_construct(**image) for image in job.request["source_images"]]
            told = self.pipelines.outcome(job.batch_id, job.request["pipeline"], images).told
        except (LookupError, TypeError, AppError):  # it must not hold up those behind it
            log.exception("job_not_told", job_id=job.id)
            return False
        if self.keep_result is not None:
            self.keep_result(job.id, told)  # first: it may be done twice, and the callback only once
        with self.sessions.begin() as session:
            if not pipelines.answer(session, job.id):
                return False
            if job.callback_url is not None:
                user_id = pipelines.batch(session, job.batch_id).user_id
                said = "pipeline.completed", told
                pipelines.tell(session, _delivery_id(job.id), user_id, job.callback_url, *said, job.batch_id)
        log.info("job_answered", job_id=job.id, batch_id=str(job.batch_id))
        return True


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
