"""Pipelines: what may be asked of them, and what is made of a batch's tasks."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.core.config import Settings
from app.core.errors import InvalidRequest
from app.core.operations import operations
from app.core.states import TERMINAL, TaskStatus
from app.db.models import Batch, Task
from app.services.pipelines import PipelineRequest, SourceImage, outcome
from app.version import VERSION
from tests.conftest import make_settings

BEGUN = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
NOW = BEGUN + timedelta(seconds=9)
ERROR = {"code": "invalid_url", "detail": "No URL."}


def asked(**members: Any) -> PipelineRequest:
    images = [{"id": "a", "url": "https://example.com/a.jpg"}]
    return PipelineRequest.model_validate({"pipeline": "random", "source_images": images} | members)


def image(name: str) -> SourceImage:
    return SourceImage(id=name, url=f"https://example.com/{name}.jpg")


def task(item: int, status: TaskStatus, **columns: Any) -> Task:
    ended = BEGUN + timedelta(seconds=2 + item) if status in TERMINAL else None
    return Task(id=uuid4(), item=item, status=status, finished_at=ended, **columns)


def told(tasks: list[Task], images: list[str], refused: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    batch = Batch(id=UUID(int=7), created_at=BEGUN, refused=refused or [])
    return outcome(batch, tasks, "random", [image(name) for name in images], NOW, lambda task: f"signed:{task.item}")


# ---- what is asked


def test_it_becomes_the_fields_of_a_batch(settings: Settings) -> None:
    parts, fields = asked(config={"format": "webp", "recipe": "shop"}).read(settings)
    assert [part.url for part in parts] == ["https://example.com/a.jpg"]
    assert fields == {"priority": "interactive", "operation": "random", "format": "webp", "recipe": "shop"}
    assert asked(config=None).read(settings)[1] == {"priority": "interactive", "operation": "random"}
    assert asked(config={"priority": "bulk", "operation": "random"}).read(settings)[1]["priority"] == "bulk"


@pytest.mark.parametrize(("number", "priority"), [(8, "interactive"), (9, "bulk")])
def test_many_images_do_not_go_first(settings: Settings, number: int, priority: str) -> None:
    images = [{"id": str(n), "url": "https://example.com/"} for n in range(number)]
    assert asked(source_images=images).read(settings)[1]["priority"] == priority
    named = asked(source_images=images, config={"priority": "interactive"})
    assert named.read(settings)[1]["priority"] == "interactive"


def test_what_makes_no_sense_is_refused(environment: dict[str, str]) -> None:
    settings = make_settings(environment, max_batch_files=1)
    two = [{"id": str(n), "url": "https://example.com/"} for n in range(2)]
    for members, code, word in (
        ({"pipeline": "segment"}, "unknown_pipeline", "there are remove-background, "),
        ({"config": {"operation": "mask"}}, "invalid_option", "leave it out"),
        ({"source_images": two}, "too_many_files", "at most 1 "),
    ):
        with pytest.raises(InvalidRequest, match=word) as refused:
            asked(**members).read(settings)
        assert refused.value.code == code


@pytest.mark.parametrize(
    "members",
    [
        {"source_images": []},
        {"source_images": [{"id": "", "url": "https://example.com/"}]},
        {"source_images": [{"id": "a" * 201, "url": "https://example.com/"}]},
        {"source_images": [{"id": 7, "url": "https://example.com/"}]},
        {"source_images": [{"id": "a\0", "url": "https://example.com/"}]},
        {"source_images": [{"id": "a", "url": "https://example.com/\0"}]},
        {"source_images": [{"id": "a"}]},
        {"source_images": [{"id": "a", "url": "https://example.com/"}] * 2},
        {"config": []},
        {"confg": {}},
    ],
)
def test_what_is_none_is_no_request(members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        asked(**members)


# ---- what is told


def test_a_completed_task_is_a_detection() -> None:
    done = task(0, TaskStatus.COMPLETED, subject_box=[5, 6, 60, 40], processing_seconds=0.6, confidence=0.9)
    found = told([done], ["a"])
    assert found["detections"] == [
        {
            "source_image_id": "a",
            "bbox": {"x1": 5, "y1": 6, "x2": 65, "y2": 46},
            "inference_time": 0.6,
            "algorithm": {"name": "Random", "key": "random"},
            "timestamp": "2026-11-22T10:15:02Z",
            "crop_image_url": "signed:0",
            "score": 0.9,
            "classifications": [],
        }
    ]
    assert (found["pipeline"], found["batch_id"], found["total_time"]) == ("random", str(UUID(int=7)), 2.0)
    assert found["source_images"] == [{"id": "a", "url": "https://example.com/a.jpg"}]
    assert found["algorithms"] == {
        "random": {
            "name": "Random",
            "key": "random",
            "task_type": "segmentation",
            "description": operations()["random"].summary,
            "version": VERSION,
        }
    }
    assert found["errors"] == []


def test_what_came_to_nothing_is_an_error() -> None:
    ended = [
        task(0, TaskStatus.FAILED, error_code="url_not_fetched", error_message="It is away."),
        task(1, TaskStatus.CANCELLED),
        task(2, TaskStatus.EXPIRED),
    ]
    found = told(ended, ["a", "b", "c"])
    assert found["detections"] == []
    assert [(error["source_image_id"], error["code"]) for error in found["errors"]] == [
        ("a", "url_not_fetched"),
        ("b", "task_cancelled"),
        ("c", "task_expired"),
    ]
    assert all(error["detail"] for error in found["errors"])


def test_what_is_still_at_work_is_neither() -> None:
    found = told([task(0, TaskStatus.COMPLETED), task(1, TaskStatus.RETRYING, error_code="oom")], ["a", "b"])
    assert [detection["source_image_id"] for detection in found["detections"]] == ["a"]
    assert (found["errors"], found["total_time"]) == ([], 9.0)


@given(st.lists(st.sampled_from(["there", "deleted", "refused"]), min_size=1, max_size=30))
def test_each_image_is_told_of_by_its_name_whichever_are_refused_or_deleted(fates: list[str]) -> None:
    places = {fate: [str(n) for n, each in enumerate(fates) if each == fate] for fate in ("there", "refused")}
    tasks = [task(int(n), TaskStatus.COMPLETED) for n in places["there"]]
    refused = [{"item": int(n), "name": "x", "code": n, "detail": "No."} for n in places["refused"]]
    found = told(tasks, [str(n) for n in range(len(fates))], refused)
    assert [each["source_image_id"] for each in found["detections"]] == places["there"]
    assert [each["source_image_id"] for each in found["errors"]] == places["refused"]


def test_refusals_of_earlier_versions_have_the_places_that_are_left() -> None:
    refused = [{"name": "x", "code": code, "detail": "No."} for code in "ac"]
    found = told([task(1, TaskStatus.COMPLETED)], list("abc"), refused)
    assert [each["source_image_id"] for each in found["errors"]] == ["a", "c"]
