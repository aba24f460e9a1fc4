"""Results for other Celery clients, where these look for them: in CELERY_RESULT_BACKEND."""

from celery import states

from app.core.config import Settings
from app.core.errors import AppError
from app.services.jobs import KeepResult, Told
from app.tasks.celery_app import make_results_app


def result_keeper(settings: Settings) -> KeepResult | None:
    """Keeps a result under the id of its Celery task, which its client waits for; None: there is no place for it."""
    if settings.celery_result_backend is None:
        return None
    app = make_results_app(settings)

    def keep(task_id: str, told: Told) -> None:
        if isinstance(told, AppError):  # as the worker does with a job that is refused
            app.backend.store_result(task_id, ValueError(told.message), states.FAILURE)
        else:
            app.backend.store_result(task_id, told, states.SUCCESS)

    return keep
