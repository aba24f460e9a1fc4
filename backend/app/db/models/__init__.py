"""The tables. What must always hold is a constraint here, not a hope in the code.

Every time is the database's `now()`: no clock of a worker or an API process enters a comparison.
"""

from app.db.models.accounts import ApiKey, IdempotencyKey, Login, LoginFailure, Recipe, Usage, User
from app.db.models.running import Counter, WorkerHeartbeat
from app.db.models.webhooks import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookSecret
from app.db.models.work import Batch, Matte, PipelineJob, Task, TaskEvent, Upload

__all__ = [
    "ApiKey",
    "Batch",
    "Counter",
    "IdempotencyKey",
    "Login",
    "LoginFailure",
    "Matte",
    "PipelineJob",
    "Recipe",
    "Task",
    "TaskEvent",
    "Upload",
    "Usage",
    "User",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookSecret",
    "WorkerHeartbeat",
]
