"""Images by URL, and what became of them, on the wire."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from app.api.schemas.options import WISHES, Options, described
from app.core.errors import InvalidRequest
from app.core.states import TERMINAL, TaskStatus
from app.db.models import Batch
from app.services.imports import ImageUrl
from app.services.status import TaskView

URL: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 2048}
ONE, MANY = ("image_url", "digital_asset_url"), ("image_urls", "digital_asset_urls")  # the second is another's name
EXAMPLE = "https://example.com/cup.jpg"
MAX_FLOWS = 1000
DELETED = {"code": "task_deleted", "detail": "The task was deleted."}


def _schema(own: dict[str, dict[str, Any]], example: dict[str, Any]) -> ConfigDict:
    """The description of an object with one of its `own` members, and options beside it."""

    def describe(schema: dict[str, Any]) -> None:
        schema.clear()
        schema |= {
            "type": "object",
            "additionalProperties": False,
            "properties": own | described() | WISHES,
            "oneOf": [{"required": [name]} for name in own],
            "examples": [example],
        }

    return ConfigDict(json_schema_extra=describe)


class ImageIn(Options):
    """An image by its URL, with options by their names."""

    model_config = _schema(dict.fromkeys(ONE, URL | {"examples": [EXAMPLE]}), {"image_url": EXAMPLE, "format": "webp"})

    def read(self) -> tuple[ImageUrl, dict[str, Any]]:
        """Where it is, and everything else. Raises `InvalidRequest`."""
        value, rest = _taken(self.root, ONE, "an image's URL")
        if not isinstance(value, str) or not value:
            raise InvalidRequest("image_url: a URL is expected.", code="invalid_url")
        return ImageUrl(value), rest


class ImagesIn(Options):
    """Images by their URLs, with options by their names."""

    model_config = _schema(
        {name: {"type": "array", "items": URL, "minItems": 1, "examples": [[EXAMPLE]]} for name in MANY},
        {"image_urls": [EXAMPLE, "https://example.com/chair.jpg"], "size": "preview"},
    )

    def read(self, *, most: int) -> tuple[list[ImageUrl], dict[str, Any]]:
        """Where they are, and everything else. Raises `InvalidRequest`, also when there are more than `most`."""
        value, rest = _taken(self.root, MANY, "a list of image URLs")
        if not isinstance(value, list) or not value or not all(isinstance(each, str) and each for each in value):
            raise InvalidRequest("image_urls: a list of URLs is expected.", code="invalid_url")
        if len(value) > most:
            message = f"At most {most} images at a time; send the others in another request."
            raise InvalidRequest(message, code="too_many_files")
        return [ImageUrl(each) for each in value], rest


def _taken(members: Mapping[str, Any], names: Sequence[str], what: str) -> tuple[Any, dict[str, Any]]:
    given = [name for name in names if members.get(name) is not None]
    if len(given) > 1:
        raise InvalidRequest(f"{given[0]} and {given[1]} are the same thing: name one.", code="several_images")
    if not given:
        raise InvalidRequest(f"No image: {names[0]}, {what}, is expected.", code="file_missing")
    return members[given[0]], {name: value for name, value in members.items() if name not in names}


class ImageOut(BaseModel):
    """What became of one image."""

    image_url: str
    task_id: UUID | None = Field(description="null: it was refused, and there is no task.")
    status: TaskStatus | Literal["refused"]
    presigned_url: str | None = Field(description="Downloads the result; for a limited time.")
    error_code: str | None
    error_message: str | None


class ImagesOut(BaseModel):
    """What became of all."""

    batch_id: UUID
    status: Literal["processing", "finished"]
    image_count: int
    digital_asset_count: int = Field(description="The same.")
    succeeded: int
    failed: int = Field(description="With those that were refused.")
    results: list[ImageOut] = Field(description="In the order of the request.")

    @classmethod
    def of(cls, batch: Batch, views: Sequence[TaskView], images: Sequence[ImageUrl]) -> Self:
        """`views` are those of the batch's tasks. An image that has neither a task nor a refusal: its owner has deleted
        it."""
        tasks = {view.task.item: view for view in views}
        refused = {entry.get("item"): entry for entry in batch.refused}
        results = [
            _result(image, tasks[place]) if place in tasks else _refused(image, refused.get(place, DELETED))
            for place, image in enumerate(images)
        ]
        at_work = sum(each.status != "refused" and each.status not in TERMINAL for each in results)
        succeeded = sum(each.status == TaskStatus.COMPLETED for each in results)
        return cls(
            batch_id=batch.id,
            status="processing" if at_work else "finished",
            image_count=len(results),
            digital_asset_count=len(results),
            succeeded=succeeded,
            failed=len(results) - succeeded - at_work,
            results=results,
        )


def _result(image: ImageUrl, view: TaskView) -> ImageOut:
    task = view.task
    return ImageOut(
        image_url=image.url,
        task_id=task.id,
        status=task.status,
        presigned_url=view.presigned_url,
        error_code=task.error_code,
        error_message=task.error_message,
    )


def _refused(image: ImageUrl, entry: Mapping[str, Any]) -> ImageOut:
    said = {"error_code": entry["code"], "error_message": entry["detail"]}
    return ImageOut(image_url=image.url, task_id=None, status="refused", presigned_url=None, **said)


FlowState = Literal["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "EXPIRED", "NOT_FOUND"]
FLOW_STATES: dict[TaskStatus, FlowState] = {
    TaskStatus.QUEUED: "PENDING",
    TaskStatus.RETRYING: "PENDING",
    TaskStatus.PROCESSING: "RUNNING",
    TaskStatus.COMPLETED: "COMPLETED",
    TaskStatus.FAILED: "FAILED",
    TaskStatus.CANCELLED: "CANCELLED",
    TaskStatus.EXPIRED: "EXPIRED",
}


class FlowsStarted(BaseModel):
    """A flow for each image that was taken in; its id is a task's."""

    flow_ids: list[UUID]
    message: str = Field(examples=["Started processing 3 images"])
    status: Literal["RUNNING"] = "RUNNING"
    image_count: int
    digital_asset_count: int = Field(description="The same.")
    refused: list[ImageOut] = Field(description="Images that have no flow, each with its reason.")

    @classmethod
    def of(cls, batch: Batch, task_ids: Sequence[UUID], images: Sequence[ImageUrl]) -> Self:
        return cls(
            flow_ids=list(task_ids),
            message=f"Started processing {batch.total} images",
            image_count=batch.total,
            digital_asset_count=batch.total,
            refused=[_refused(images[entry["item"]], entry) for entry in batch.refused if "item" in entry],
        )


def _describe_flows(schema: dict[str, Any]) -> None:
    ids = {"type": "array", "items": {"type": "string", "format": "uuid"}, "minItems": 1, "maxItems": MAX_FLOWS}
    named = {"type": "object", "properties": {"flow_ids": ids}, "required": ["flow_ids"], "additionalProperties": False}
    schema.clear()
    schema |= {"anyOf": [named, ids]}


class Flows(RootModel[Annotated[list[UUID], Field(min_length=1, max_length=MAX_FLOWS)]]):
    """Ids by themselves, or as `flow_ids`."""

    model_config = ConfigDict(json_schema_extra=_describe_flows)

    @model_validator(mode="before")
    @classmethod
    def _by_themselves(cls, sent: object) -> object:
        return sent["flow_ids"] if isinstance(sent, dict) and set(sent) == {"flow_ids"} else sent


class FlowOut(BaseModel):
    """How far one flow is."""

    flow_id: UUID
    status: FlowState
    progress: int = Field(ge=0, le=100)
    name: str | None = Field(description="Of the image.")
    presigned_url: str | None = Field(description="Downloads the result; for a limited time.")
    error_code: str | None
    error_message: str | None


class FlowsOut(BaseModel):
    """What is there so far."""

    status: Literal["RUNNING", "COMPLETED"] = Field(description="COMPLETED: every flow has ended, one way or another.")
    results: list[FlowOut] = Field(description="In the order of the request.")

    @classmethod
    def of(cls, flow_ids: Sequence[UUID], views: Mapping[UUID, TaskView]) -> Self:
        results = [_flow(flow_id, views.get(flow_id)) for flow_id in flow_ids]
        running = any(each.status in {"PENDING", "RUNNING"} for each in results)
        return cls(status="RUNNING" if running else "COMPLETED", results=results)


def _flow(flow_id: UUID, view: TaskView | None) -> FlowOut:
    task = view.task if view else None
    return FlowOut(
        flow_id=flow_id,
        status=FLOW_STATES[task.status] if task else "NOT_FOUND",
        progress=task.progress if task else 0,
        name=task.name if task else None,
        presigned_url=view.presigned_url if view else None,
        error_code=task.error_code if task else "task_not_found",
        error_message=task.error_message if task else "There is no such flow.",
    )
