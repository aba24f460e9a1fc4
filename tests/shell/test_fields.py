"""What was typed, as the service is sent it."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import AppError, InvalidRequest
from app.core.options import ResultFormat
from app.shell.errors import UsageProblem
from app.shell.fields import Asked, read


def test_only_what_was_named_is_sent() -> None:
    typed = {"padding": None, "trim": False, "refine": True, "quality": "best"}
    fields = {"trim": "false", "refine": "true", "quality": "best"}
    assert read(typed, [], None) == Asked(fields, ResultFormat.PNG)
    assert read({}, [], "out/") == Asked({}, ResultFormat.PNG)


def test_any_other_option_goes_along() -> None:
    asked = read({"format": "webp"}, ["shadow-opacity=30", " not_known_here = a=b"], None)
    assert asked == Asked({"format": "webp", "shadow_opacity": "30", "not_known_here": " a=b"}, ResultFormat.WEBP)


@pytest.mark.parametrize(
    ("typed", "output", "format_"),
    [
        ({"background": "red"}, "x.jpeg", ResultFormat.JPG),
        ({"background": "red", "format": "jpeg"}, None, ResultFormat.JPG),
        ({"recipe": "shop"}, None, None),
        ({"recipe": "shop", "format": "auto"}, None, None),
        ({"format": "auto"}, None, None),
        ({"recipe": "shop"}, "x.jpg", ResultFormat.JPG),
        ({"recipe": "shop", "format": "zip"}, None, ResultFormat.ZIP),
    ],
)
def test_the_format_is_known_or_an_affair_of_the_recipe_or_the_result(
    typed: dict[str, str], output: str | None, format_: ResultFormat | None
) -> None:
    asked = read(typed, [], output)
    assert asked.format is format_
    assert ("format" in asked.fields) == (format_ is not None or "format" in typed)


@pytest.mark.parametrize("more", ["padding", "=3", "file=x", "image_url=https://a/b", "s3_key=k", "quality=best"])
def test_what_is_no_option(more: str) -> None:
    with pytest.raises(UsageProblem, match=r"^--option "):
        read({"quality": "best"}, [more], None)


def test_what_makes_no_sense_is_told_before_anything_starts() -> None:
    with pytest.raises(InvalidRequest, match=r"^padding: "):
        read({"padding": "-1"}, [], None)
    with pytest.raises(UsageProblem, match=r"^--format gif: a result is png"):
        read({"recipe": "shop", "format": "gif"}, [], None)


@given(st.lists(st.text(max_size=30), max_size=4), st.none() | st.text(max_size=9))
def test_whatever_is_typed_is_fields_or_one_sentence(more: list[str], recipe: str | None) -> None:
    with suppress(AppError):
        assert len(read({"recipe": recipe}, more, None).fields) == len(more) + (recipe is not None)
