"""What the worker's main process looks at before Celery does."""

import json
from typing import Any

import pytest
from kombu.message import Message

from app.tasks.consumer import prepare


def message(body: object, **headers: Any) -> Message:
    text = json.dumps(body)
    how = {"content_type": "application/json", "content_encoding": "utf-8"}
    return Message(text, headers=headers, **how)  # type: ignore[no-untyped-call]


def nested(levels: int) -> object:
    inner: object = []
    for _ in range(levels):
        inner = [inner]
    return inner


def test_a_good_one_is_left_as_it_is_but_for_its_time_limits() -> None:
    newer = message([[], {}, {}], id="a", task="health_check", timelimit=[1, 2])
    prepare(newer)
    assert newer.headers == {"id": "a", "task": "health_check"}
    older = message({"id": "a", "task": "health_check", "args": [], "timelimit": [1, 2]})
    prepare(older)
    assert older.payload == {"id": "a", "task": "health_check", "args": []}
    prepare(message([[nested(100)], {}, {}], id="a"))


@pytest.mark.parametrize("id_", [None, 5, {}])
def test_an_id_is_a_text(id_: object) -> None:
    for wrong in (message([[], {}, {}], id=id_), message({"id": id_, "args": []})):
        with pytest.raises(TypeError, match="id"):
            prepare(wrong)


def test_none_is_nested_too_deeply() -> None:
    for wrong in (message([[nested(600)], {}, {}], id="a"), message([[], {}, {}], id="a", x=nested(600))):
        with pytest.raises(RecursionError):
            prepare(wrong)
