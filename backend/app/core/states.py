"""The states of a task and the moves between them: the vocabulary of the database, the API and the worker."""

from enum import StrEnum


class TaskStatus(StrEnum):
    QUEUED = "queued"
    PROCESSING = "processing"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class UploadStatus(StrEnum):
    REMOTE = "remote"  # promised, and still at its URL: a worker fetches it
    PENDING = "pending"  # the intent is recorded, the object may or may not be there
    STORED = "stored"
    EXPIRED = "expired"  # past its time: the object is deleted, or about to be


class Stage(StrEnum):
    """What an attempt is doing, in order."""

    DOWNLOADING = "downloading"
    DECODING = "decoding"
    INFERRING = "inferring"
    REFINING = "refining"
    ENCODING = "encoding"
    UPLOADING = "uploading"


# The progress an attempt shows when it enters a stage, from measured shares of its time.
PROGRESS: dict[Stage, int] = {
    Stage.DOWNLOADING: 5,
    Stage.DECODING: 10,
    Stage.INFERRING: 20,
    Stage.REFINING: 70,
    Stage.ENCODING: 80,
    Stage.UPLOADING: 90,
}

WAITING = frozenset({TaskStatus.QUEUED, TaskStatus.RETRYING})
TERMINAL = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.EXPIRED})

# Who may follow whom. `processing -> processing` is heartbeat and progress of one attempt.
TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.QUEUED: frozenset({TaskStatus.PROCESSING, TaskStatus.FAILED, TaskStatus.CANCELLED}),
    TaskStatus.RETRYING: frozenset({TaskStatus.PROCESSING, TaskStatus.FAILED, TaskStatus.CANCELLED}),
    TaskStatus.PROCESSING: frozenset(
        {
            TaskStatus.PROCESSING,
            TaskStatus.COMPLETED,
            TaskStatus.FAILED,
            TaskStatus.RETRYING,
            TaskStatus.QUEUED,
            TaskStatus.CANCELLED,
        }
    ),
    TaskStatus.COMPLETED: frozenset({TaskStatus.EXPIRED}),
    TaskStatus.FAILED: frozenset({TaskStatus.EXPIRED, TaskStatus.QUEUED}),
    TaskStatus.CANCELLED: frozenset({TaskStatus.EXPIRED, TaskStatus.QUEUED}),
    TaskStatus.EXPIRED: frozenset(),
}

# Why a task failed, where neither its picture nor what was asked for is at fault.
FAULTS_OF_OURS = frozenset(
    {
        *("internal_error", "timeout", "oom", "worker_lost", "max_attempts", "queue_timeout"),
        *("database_unavailable", "storage_unavailable", "engine_unavailable", "model_unavailable"),
        "service_unavailable",
    }
)
