"""The Celery tasks that other programs may send: `process_pipeline` and `health_check`, on the queue `celery`.

Nobody waits here: a job becomes a batch like any other, and the sweeper answers it when that has ended.
"""

from dataclasses import asdict
from typing import Any, NoReturn

from celery import Task, shared_task
from celery.exceptions import Ignore, Reject

from app.core.errors import ServiceUnavailable, TooManyRequests
from app.core.logging import get_logger
from app.services.jobs import JobRefused
from app.tasks.celery_app import FOREIGN
from app.tasks.worker import runtime
from app.version import VERSION

# The message is the only record of the job, so here Celery does try again: for a day, like everything that waits.
# Between the tries a worker holds the message, which the broker must not hand out again meanwhile: so short gaps.
FIRST_GAP, LONGEST_GAP = 5, 300  # seconds
TRIES = 300

log = get_logger(__name__)


def process_pipeline(self: Task, request: Any = None, callback_url: Any = None) -> None:
    """Take a job in. What its batch has come to is the task's result, and is sent to `callback_url`."""
    number = self.request.retries
    if not isinstance(number, int) or number < 0:
        raise ValueError("retries: the number of tries before this one is expected.")
    try:
        runtime().jobs.accept(str(self.request.id), request, callback_url, is_last_try=number >= TRIES)
    except JobRefused as refused:
        raise ValueError(str(refused)) from None
    except Exception as error:
        if number >= TRIES:
            raise
        _try_again(self, error, gap(number, error))
    raise Ignore  # the result is the sweeper's to keep


def health_check(self: Task) -> dict[str, Any]:
    """The dependency matrix, as `/health` shows it."""
    matrix = runtime().health.matrix()
    return {"service": "quickbg-worker", "version": VERSION, **asdict(matrix)}


def gap(number: int, error: Exception) -> int:
    """Seconds from a try (the first is 0) to the next one."""
    wish = error.retry_after if isinstance(error, ServiceUnavailable | TooManyRequests) else 0
    return min(LONGEST_GAP, max(FIRST_GAP << min(number, 10), wish))


def _try_again(task: Task, error: Exception, seconds: int) -> NoReturn:
    log.warning("job_put_off", job_id=task.request.id, error=type(error).__name__, seconds=seconds)
    try:
        raise task.retry(countdown=seconds, queue=FOREIGN)
    except Reject as unsent:
        # The broker did not take the new message: it keeps this one.
        raise Reject(unsent.reason, requeue=True) from None


# What they are called by clients of services like this one, too.
for _prefix in ("", "api.tasks."):
    for _task in (process_pipeline, health_check):
        shared_task(
            name=f"{_prefix}{_task.__name__}",
            bind=True,
            Request="app.tasks.deaths:ReportedRequest",
            ignore_result=False,
            max_retries=None,
            reject_on_worker_lost=True,
            throws=(ValueError,),  # the client's mistake: one line in the log
        )(_task)
