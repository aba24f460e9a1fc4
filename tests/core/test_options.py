import pytest

from app.core.errors import InvalidRequest
from app.core.options import Quality, RemovalOptions, ResultFormat, read_options
from app.imaging.encode import ENCODERS


def refusal(**fields: object) -> str:
    with pytest.raises(InvalidRequest) as problem:
        read_options(fields)
    assert problem.value.code == "invalid_option"
    return str(problem.value)


def test_a_row_of_the_time_before_there_was_a_choice() -> None:
    options = RemovalOptions.model_validate({"refine": True, "trim": True, "padding": 10})
    assert options == RemovalOptions()
    assert (options.quality, options.format, options.background_rgb) == (Quality.BALANCED, ResultFormat.PNG, None)


def test_what_is_stored_is_read_again() -> None:
    options = read_options({"quality": "best", "format": "jpeg", "background": "Navy", "trim": "False"})
    assert options.format is ResultFormat.JPG
    assert options.background_rgb == (0, 0, 128)
    assert not options.trim
    stored = options.model_dump(mode="json")
    assert (stored["format"], stored["background"]) == ("jpg", "#000080")
    assert RemovalOptions.model_validate(stored) == options


@pytest.mark.parametrize("nothing", ["", " ", "transparent", "Transparent", None])
def test_no_background(nothing: str | None) -> None:
    assert read_options({"background": nothing}).background is None


def test_a_wrong_value_is_told_with_what_may_be() -> None:
    assert refusal(quality="fast") == "quality: Input should be 'balanced' or 'best' (given: 'fast')"
    assert refusal(format="tiff") == "format: Input should be 'png', 'webp', 'jpg' or 'zip' (given: 'tiff')"
    assert refusal(background="#12") == (
        "background: this is no colour; write #rgb, #rrggbb, a name such as white, or nothing (given: '#12')"
    )
    assert refusal(background=7).startswith("background: ")


@pytest.mark.parametrize("order", [["background", "format"], ["format", "background"]])
def test_what_does_not_go_together(order: list[str]) -> None:
    for given, said in (
        ({"format": "jpg", "background": ""}, "format: jpg cannot be transparent: name a background, such as #ffffff"),
        (
            {"format": "zip", "background": "red"},
            "format: zip keeps the transparency apart, and so takes no background",
        ),
        ({"format": "jpg", "background": "reddish"}, "background: this is no colour"),
    ):
        assert refusal(**{name: given[name] for name in order}).startswith(said)


def test_every_format_can_be_written_and_has_a_type() -> None:
    assert set(ENCODERS) == set(ResultFormat)
    assert len({format_.content_type for format_ in ResultFormat}) == len(ResultFormat)
