"""Pipelines: an operation of the registry, on images that are named by their URLs, and one answer for all of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.core.config import Settings
from app.core.errors import InvalidRequest
from app.core.operations import operations
from app.core.states import TaskStatus
from app.core.validation import is_text
from app.db import batches, pipelines, retention
from app.db.base import Sessions
from app.db.models import Batch, Task
from app.services.imports import ImageUrl
from app.services.orders import priority_of
from app.services.status import Statuses
from app.version import VERSION

Presign = Callable[[Task], str | None]


def _storable(value: str) -> str:
    if not is_text(value):
        raise ValueError("a text without NUL characters is expected")
    return value


class SourceImage(BaseModel):
    """An image by its URL, under a name that the answer calls it by."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, AfterValidator(_storable)] = Field(min_length=1, max_length=200)
    url: Annotated[str, AfterValidator(_storable)] = Field(min_length=1, max_length=2048)


class PipelineRequest(BaseModel):
    """What is to be made of which images."""

    model_config = ConfigDict(extra="forbid")

    pipeline: str = Field(max_length=70, description="An operation; `/info` lists them.", examples=["random"])
    source_images: list[SourceImage] = Field(
        min_length=1, examples=[[{"id": "cup", "url": "https://example.com/cup.jpg"}]]
    )
    config: dict[str, Any] | None = Field(
        None,
        description="Options of a removal by their names, and `recipe`, `priority`, `webhook_url`.",
        examples=[{"format": "webp"}],
    )

    @model_validator(mode="after")
    def _are_told_apart(self) -> Self:
        if len({image.id for image in self.source_images}) < len(self.source_images):
            raise ValueError("source_images: each needs an id of its own")
        return self

    def read(self, settings: Settings) -> tuple[list[ImageUrl], dict[str, object]]:
        """The parts and the fields of a batch. Raises `InvalidRequest`."""
        if self.pipeline not in operations():
            message = f"pipeline: there is none of this name; there are {', '.join(operations())}."
            raise InvalidRequest(message, code="unknown_pipeline")
        if len(self.source_images) > settings.max_batch_files:
            message = f"source_images: at most {settings.max_batch_files} are taken; send the others by themselves."
            raise InvalidRequest(message, code="too_many_files")
        named = {"priority": priority_of(len(self.source_images)), **(self.config or {})}
        if named.setdefault("operation", self.pipeline) != self.pipeline:
            message = "config: the operation is what `pipeline` names; leave it out here."
            raise InvalidRequest(message, code="invalid_option")
        return [ImageUrl(image.url) for image in self.source_images], named


@dataclass(frozen=True)
class Outcome:
    """What a batch has come to so far, as it is told."""

    told: dict[str, Any]
    is_over: bool


@dataclass(frozen=True)
class Pipelines:
    """The use case with the parts that it works on."""

    sessions: Sessions
    statuses: Statuses

    def task_ids(self, batch_id: UUID) -> Sequence[UUID]:
        with self.sessions.begin() as session:
            return [task.id for task in batches.items(session, batch_id)]

    def outcome(self, batch_id: UUID, pipeline: str, images: Sequence[SourceImage], *, at_least: int = 0) -> Outcome:
        """Of the batch that these images were submitted as. Its addresses are signed now, for so long `at_least`."""
        with self.sessions.begin() as session:
            batch = pipelines.batch(session, batch_id)
            tasks = batches.items(session, batch_id, with_deleted=True)
            now = retention.now(session)

        def presign(task: Task) -> str | None:
            return self.statuses.view(task, at_least=at_least).presigned_url

        told = outcome(batch, tasks, pipeline, images, now, presign)
        return Outcome(told, all(task.finished_at for task in tasks))


def outcome(
    batch: Batch, tasks: Sequence[Task], pipeline: str, images: Sequence[SourceImage], now: datetime, presign: Presign
) -> dict[str, Any]:
    """As JSON. `total_time`: seconds from the request to its last image; until now, while there is more to come."""
    until = max((task.finished_at or now for task in tasks), default=now)
    ended = {images[task.item or 0].id: task for task in tasks if task.finished_at}
    completed = {name: task for name, task in ended.items() if task.status == TaskStatus.COMPLETED}
    return {
        "pipeline": pipeline,
        "batch_id": str(batch.id),
        "total_time": round((until - batch.created_at).total_seconds(), 3),
        "source_images": [{"id": image.id, "url": image.url} for image in images],
        "detections": [_detection(name, task, pipeline, presign(task)) for name, task in completed.items()],
        "algorithms": {pipeline: _algorithm(pipeline)},
        "errors": [
            *_refused(batch, tasks, images),
            *(_error(name, task) for name, task in ended.items() if name not in completed),
        ],
    }


def _refused(batch: Batch, tasks: Sequence[Task], images: Sequence[SourceImage]) -> Iterator[dict[str, Any]]:
    # Of a batch of an earlier version: the places of no task, in their order.
    free = iter(sorted(set(range(len(images))) - {task.item for task in tasks}))
    for entry in batch.refused:
        place = entry["item"] if "item" in entry else next(free)
        yield {"source_image_id": images[place].id, "code": entry["code"], "detail": entry["detail"]}


def _error(name: str, task: Task) -> dict[str, Any]:
    code, detail = {
        TaskStatus.CANCELLED: ("task_cancelled", "The task was cancelled."),
        TaskStatus.EXPIRED: ("task_expired", "The result was kept for its time and is no longer stored."),
    }.get(task.status, (task.error_code, task.error_message or "The image could not be processed."))
    return {"source_image_id": name, "code": code, "detail": detail}


def _detection(name: str, task: Task, pipeline: str, url: str | None) -> dict[str, Any]:
    return {
        "source_image_id": name,
        "bbox": _corners(task.subject_box),
        "inference_time": task.processing_seconds,
        "algorithm": {"name": _title(pipeline), "key": pipeline},
        "timestamp": _written(task.finished_at),
        "crop_image_url": url,
        "score": task.confidence,
        "classifications": [],
    }


def _corners(box: Sequence[int] | None) -> dict[str, int] | None:
    """Out of left, top, width and height."""
    if box is None:
        return None
    left, top, width, height = box
    return {"x1": left, "y1": top, "x2": left + width, "y2": top + height}


def _written(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _algorithm(pipeline: str) -> dict[str, str]:
    return {
        "name": _title(pipeline),
        "key": pipeline,
        "task_type": "segmentation",
        "description": operations()[pipeline].summary,
        "version": VERSION,
    }


def _title(pipeline: str) -> str:
    return pipeline.replace("-", " ").capitalize()
