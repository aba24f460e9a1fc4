"""The Celery task: an id comes in, one attempt is made. Everything else is `services.processing`."""

from uuid import UUID

from celery import shared_task

from app.tasks.celery_app import TASK
from app.tasks.worker import runtime


@shared_task(name=TASK, Request="app.tasks.deaths:ReportedRequest")
def remove_background(task_id: str) -> None:
    """Make an attempt at the task with this id."""
    runtime().processing.process(UUID(task_id))
