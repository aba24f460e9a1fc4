"""The worker's own app, with a consumer that stops listening as soon as it is ready."""

from typing import Any

from celery.signals import worker_ready

from app.tasks.celery_app import app

__all__ = ["app"]


def _go_deaf(sender: Any, **_: Any) -> None:
    sender.task_consumer.cancel()


worker_ready.connect(_go_deaf)
