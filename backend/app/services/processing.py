"""One attempt at one task: claim → download → cut out → upload → finish.

Two short transactions (claim, finish) and none open while computing or waiting for the store. Every fault
ends in the row: `completed`, `failed` for good, `retrying` at a later time, or back to `queued` when this process is
told to stop. Celery learns nothing and retries nothing.
"""

import io
import resource
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from structlog.contextvars import bound_contextvars

from app.core.config import Settings
from app.core.errors import AppError, ObjectNotFound
from app.core.failpoints import failpoint
from app.core.logging import get_logger
from app.core.metrics import MetricsLog
from app.core.models import Model
from app.core.options import RemovalOptions, ResultFormat
from app.core.states import Stage, TaskStatus
from app.db import dispatch, fetches, tasks
from app.db.base import Sessions
from app.db.models import Task
from app.db.tasks import Claim, Result
from app.imaging.engines.base import Engine
from app.imaging.errors import ImageError, is_out_of_memory
from app.imaging.isnet import preprocess
from app.imaging.pipeline import Cutout, Prepare, cut_out
from app.services.about import image_limits
from app.services.bell import Bell
from app.services.composing import Backgrounds, cutout_options
from app.services.counting import (
    CLAIMS,
    CLAIMS_REFUSED,
    FENCED,
    INFERENCES,
    STAGE_SECONDS,
    TASKS_ENDED,
    Counts,
)
from app.services.fetching import Fetching, NoPlace
from app.services.mattes import Mattes
from app.services.networks import OtherModels
from app.services.orders import Priority
from app.services.precedence import Nobody, Precedence
from app.services.pulse import Fenced, Grip, Pulse
from app.storage.base import ObjectStore, content_type, result_key

MOST_OVERTAKEN = 5  # attempts in which a batch's picture makes room
PUT_OFF = 5.0  # seconds until a place to fetch at is looked for again, if nobody calls before
SETTLE_PAUSE = 1.0  # seconds between tries to write the outcome while the database is away

T = TypeVar("T")

log = get_logger(__name__)


class Overtaken(Exception):
    """A picture that somebody waits for comes first."""


class AttemptTimeout(Exception):
    """The attempt ran past its time limit."""


@dataclass(frozen=True)
class Processing:
    """The use case with the parts that it works on. `timeouts` are what the runtime raises at the soft limit."""

    settings: Settings
    sessions: Sessions
    store: ObjectStore
    engine: Engine
    mattes: Mattes
    fetching: Fetching
    pulse: Pulse
    bell: Bell
    metrics: MetricsLog
    worker: str
    timeouts: tuple[type[Exception], ...] = (AttemptTimeout,)
    precedence: Precedence = field(default_factory=Nobody)
    counts: Counts = field(default_factory=Counts)
    others: OtherModels = field(default_factory=OtherModels)

    @cached_property
    def backgrounds(self) -> Backgrounds:
        """They remember the last one."""
        return Backgrounds(self.settings, self.store, self.fetching.outbound)

    def process(self, task_id: UUID) -> None:
        """Make an attempt at the task, if it is there to be claimed; a duplicate message ends right here."""
        with self.sessions.begin() as session:
            held = tasks.claim(session, task_id, worker=self.worker, timing=self.settings.timing)
            task = tasks.get(session, task_id) if held else None
        if held is None or task is None:
            log.info("claim_refused", task_id=str(task_id))
            self.counts.add(CLAIMS_REFUSED)
            return
        self.counts.add(CLAIMS)
        # This message is used up: the account has room for its next one.
        self.bell.ring_next(task.user_id, task.queue)
        failpoint("claimed", task.request_id)
        with (
            bound_contextvars(task_id=str(task_id), attempt=held.attempt, request_id=task.request_id),
            self.pulse.hold(held) as grip,
        ):
            try:
                self._attempt(held, task, grip)
            except (SystemExit, KeyboardInterrupt):
                self._settle(lambda session: tasks.release(session, held))
                log.info("attempt_released")
                raise
            except Fenced:
                log.warning("attempt_fenced")
                self.counts.add(FENCED)
                for format_ in task.format.results:
                    self._discard(task.id, _key(task, held, format_))

    def _attempt(self, held: Claim, task: Task, grip: Grip) -> None:  # noqa: C901 - one line for each way to end
        try:
            self._cut_out(held, task, grip)
        except Fenced:
            raise
        except Overtaken:
            self._put_off(held, task, 0)
        except NoPlace:
            self._put_off(held, task, PUT_OFF)
        except ImageError as error:
            self._fail(held, task, error.code, str(error), getattr(error, "confidence", None))
        except ObjectNotFound:
            self._fail(held, task, "original_missing", "The original image is no longer stored.")
        except self.timeouts:
            seconds = self.settings.timing.soft_limit
            self._retry(held, task, "timeout", f"The image was not finished within {seconds} seconds.")
        except SQLAlchemyError as error:
            log.warning("database_failed", error=type(error).__name__)
            self._retry(held, task, "database_unavailable", "The database could not be reached.")
        except AppError as error:
            act = self._retry if error.retryable else self._fail
            act(held, task, error.code, error.message)
        except Exception as error:
            if is_out_of_memory(error):
                # A MemoryError past this frame would take the worker's main process down with it.
                self._retry(held, task, "oom", "The worker ran out of memory.")
                return
            log.exception("attempt_crashed")
            self._fail(held, task, "internal_error", "The image could not be processed because of an internal error.")

    def _cut_out(self, held: Claim, task: Task, grip: Grip) -> None:
        seconds: dict[str, float] = {}
        clock = time.perf_counter()

        def enter(stage: str) -> None:
            grip.enter(Stage(stage))
            failpoint(stage, task.request_id)
            if task.queue == Priority.BULK:
                self._let_others_pass(held, stage)
            if stage == Stage.INFERRING:
                self.counts.add(INFERENCES)

        asked = RemovalOptions.model_validate(task.options)
        with self.fetching.place(task, wanted=self.backgrounds.is_far(asked, task.user_id)):
            self.fetching.bring(task, grip.check)
            background = self.backgrounds.bring(asked, task.user_id)
        data = self.store.get(task.upload.key)
        failpoint("downloaded", task.request_id)
        seconds[Stage.DOWNLOADING] = time.perf_counter() - clock
        options = cutout_options(asked, self.settings, background)
        first = nullcontext() if task.queue == Priority.BULK else self.precedence.going_first()
        engine, prepare, other = self._network(asked)
        with first, self.mattes.search(task.user_id, data, options, grip.check, other) as search:
            limits = image_limits(self.settings)
            cutout = cut_out(data, engine, options, limits, enter, search.find, prepare)
            enter(Stage.UPLOADING)
            self._deliver(held, task, grip, cutout, seconds)
            if cutout.found is not None:
                search.keep(cutout.found)

    def _network(self, asked: RemovalOptions) -> tuple[Engine, Prepare, str | None]:
        """What runs it, what it wants to see, and its name if it is not the server's own."""
        if asked.model is Model.ISNET_GENERAL_USE:
            return self.engine, preprocess, None
        return *self.others.find(asked.model), asked.model

    def _let_others_pass(self, held: Claim, stage: str) -> None:
        """A picture of a batch waits while one is worked on that somebody waits for, and makes room for one that nobody
        has begun with. Raises `Overtaken`."""
        self.precedence.give_way()
        if stage == Stage.INFERRING and held.attempt <= MOST_OVERTAKEN:
            with self.sessions.begin() as session:
                if dispatch.is_awaited(session, Priority.INTERACTIVE):
                    raise Overtaken

    def _deliver(self, held: Claim, task: Task, grip: Grip, cutout: Cutout, seconds: dict[str, float]) -> None:
        """Store the result and complete the task with it. `seconds`: what the stages before the pipeline took."""
        clock = time.perf_counter()
        key = _key(task, held, ResultFormat(cutout.format))
        self.store.put(key, io.BytesIO(cutout.data), content_type(key))
        failpoint("result_stored", task.request_id)
        seconds |= cutout.stage_seconds | {Stage.UPLOADING: time.perf_counter() - clock}
        grip.check()
        boxes = list(cutout.subject_box), list(cutout.result_box)
        result = Result(key, len(cutout.data), cutout.width, cutout.height, cutout.confidence, *boxes)

        def finish(session: Session) -> bool:
            return tasks.complete(session, held, result) or tasks.delivers(session, task.id, key)

        if not self._settle(finish):
            raise Fenced("The task was taken away from this attempt.")
        failpoint("completed", task.request_id)
        self._report(task, TaskStatus.COMPLETED, seconds, cutout)

    def _put_off(self, held: Claim, task: Task, delay: float) -> None:
        def put_off(session: Session) -> bool:
            if delay:
                fetches.put_off(session, task.user_id, task.queue, delay)
            return tasks.put_off(session, held, delay)

        self._settle(put_off)
        self.bell.ring(task.id, task.queue)  # which says nothing of one that is not due

    def _fail(self, held: Claim, task: Task, code: str, message: str, confidence: float | None = None) -> None:
        if self._settle(lambda session: tasks.fail(session, held, code=code, message=message)):
            log.info("task_failed", error_code=code)
            self._report(task, TaskStatus.FAILED, error_code=code, confidence=confidence)

    def _retry(self, held: Claim, task: Task, code: str, message: str) -> None:
        status = self._settle(
            lambda session: tasks.retry_later(
                session,
                held,
                code=code,
                message=message,
                delay=self.settings.task_retry_delay_seconds,
                timing=self.settings.timing,
            )
        )
        log.warning("attempt_failed", error_code=code, status=status)
        if status == TaskStatus.FAILED:
            self._report(task, TaskStatus.FAILED, error_code=code)

    def _settle(self, write: Callable[[Session], T]) -> T:
        """Write an outcome. While the database is away, keep trying until the lease is surely gone.

        Each write is a compare and set, so one that did land (and only its answer was lost) changes nothing when it
        is repeated; it then finds 0 rows, like one that came too late.
        """
        until = time.monotonic() + self.settings.timing.lease
        while True:
            try:
                with self.sessions.begin() as session:
                    return write(session)
            except SQLAlchemyError:
                if time.monotonic() > until:
                    raise
                log.warning("settle_failed")
                time.sleep(SETTLE_PAUSE)

    def _discard(self, task_id: UUID, key: str) -> None:
        """Take away an attempt's object, unless its task names it. One that stays is an orphan: no harm is done."""
        try:
            with self.sessions.begin() as session:
                if tasks.delivers(session, task_id, key):
                    return
            self.store.delete(key)
        except (AppError, SQLAlchemyError) as error:
            log.warning("object_left_behind", error=type(error).__name__)

    def _report(
        self,
        task: Task,
        status: TaskStatus,
        seconds: dict[str, float] | None = None,
        cutout: Cutout | None = None,
        *,
        error_code: str | None = None,
        confidence: float | None = None,
    ) -> None:
        """One line in the metrics, one in the log. Neither may turn a finished task into a failed one."""
        self.counts.add(TASKS_ENDED, status=status, code=error_code or "")
        for stage, value in (seconds or {}).items():
            self.counts.observe(STAGE_SECONDS, value, stage=stage)
        took = sum((seconds or {}).values())
        log.info("task_finished", status=status, duration_s=round(took, 3))
        upload = task.upload
        fields = {
            "upload_id": upload.id,
            "task_id": task.id,
            "status": status,
            "processing_time_seconds": round(took, 3),
            "memory_usage_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "metadata": {
                "original_size": [upload.width, upload.height],
                "processed_size": [cutout.width, cutout.height] if cutout else None,
                "compression_ratio": _ratio(len(cutout.data), upload.size_bytes) if cutout else None,
            },
            "quality": task.options.get("quality"),
            "engine": f"{self.engine.name} {self.engine.precision}",
            "confidence": cutout.confidence if cutout else confidence,
            "stages": {name: round(value, 4) for name, value in (seconds or {}).items()},
            "error_code": error_code,
        }
        try:
            self.metrics.write(fields)
        except OSError as error:
            log.warning("metrics_not_written", error=str(error))


def _ratio(result: int, original: int | None) -> float | None:
    return round(result / original, 3) if original else None


def _key(task: Task, held: Claim, format_: ResultFormat) -> str:
    return result_key(task.user_id, task.id, held.attempt, format_)
