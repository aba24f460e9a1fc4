from typing import Any

import pytest

from app.core.backgrounds import Colour
from app.core.errors import InvalidRequest
from app.core.measures import Length
from app.core.models import Model
from app.core.options import Format, Quality, RemovalOptions, ResultFormat, read_options
from app.imaging.encode import ENCODERS
from app.imaging.models import MODELS


def refusal(**fields: object) -> str:
    with pytest.raises(InvalidRequest) as problem:
        read_options(fields)
    assert problem.value.code == "invalid_option"
    return str(problem.value)


def test_a_row_of_the_time_before_there_was_a_choice() -> None:
    options = RemovalOptions.model_validate({"refine": True, "trim": True, "padding": 10})
    assert options == RemovalOptions()
    assert (options.quality, options.format) == (Quality.BALANCED, Format.PNG)


def test_what_is_stored_is_read_again() -> None:
    options = read_options({"quality": "best", "format": "jpeg", "background": "Navy", "trim": "False"})
    assert options.format is Format.JPG
    assert options.read_background == Colour((0, 0, 128))
    assert not options.trim
    stored = options.model_dump(mode="json")
    assert (stored["format"], stored["background"]) == ("jpg", "#000080")
    assert RemovalOptions.model_validate(stored) == options


@pytest.mark.parametrize("nothing", ["", " ", "transparent", "Transparent", None])
def test_no_background(nothing: str | None) -> None:
    assert read_options({"background": nothing}).background is None


def test_a_wrong_value_is_told_with_what_may_be() -> None:
    assert refusal(quality="fast") == "quality: Input should be 'balanced' or 'best' (given: 'fast')"
    assert refusal(format="tiff") == "format: Input should be 'png', 'webp', 'jpg', 'zip' or 'auto' (given: 'tiff')"
    assert refusal(background="#12") == (
        "background: this is no background; write a colour (#rgb, #rrggbb, #rrggbbaa or a name such as white), "
        "linear-gradient(…), blur(…), s3: and a key, or a URL (given: '#12')"
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
        ({"format": "jpg", "background": "#ff000080"}, "format: jpg cannot be transparent"),
        ({"format": "zip", "background": "#ff000080"}, "format: zip keeps the transparency apart"),
        ({"format": "jpg", "background": "reddish"}, "background: this is no background"),
    ):
        assert refusal(**{name: given[name] for name in order}).startswith(said)


@pytest.mark.parametrize("background", ["", "#ff000080", "red", "blur(2%)"])
@pytest.mark.parametrize("operation", ["remove-background", "mask"])
def test_auto_goes_with_everything(operation: str, background: str) -> None:
    behind = {} if operation == "mask" else {"background": background}
    options = read_options({"format": "auto", "operation": operation, **behind})
    assert options.format.results == (ResultFormat.PNG, ResultFormat.JPG)


def test_every_format_can_be_written_and_has_a_type() -> None:
    assert set(ENCODERS) == set(ResultFormat)
    assert [format_.results for format_ in Format if format_ is not Format.AUTO] == [(each,) for each in ResultFormat]
    assert len({format_.content_type for format_ in ResultFormat}) == len(ResultFormat)


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ({"padding": 7}, {"padding": "7px"}),
        ({"padding": "5% 10"}, {"padding": "5% 10px"}),
        ({"background": "blur( 20 )"}, {"background": "blur(20px)"}),
        (
            {"background": "linear-gradient(red,navy)"},
            {"background": "linear-gradient(180deg, #ff0000 0%, #000080 100%)"},
        ),
        ({"background": "s3:imports/Ä.png"}, {"background": "s3:imports/Ä.png"}),
        ({"background": "HTTPS://example.com/A.png"}, {"background": "https://example.com/A.png"}),
        ({"background": "F008"}, {"background": "#ff000088"}),
        ({"background": "#FF0000ff"}, {"background": "#ff0000"}),
        ({"background": "#f000"}, {"background": None}),
        ({"roi": "0 0% 50.0% 10PX"}, {"roi": "0px 0px 50% 10px"}),
        ({"roi": "0px 0 100% 100%"}, {"roi": None}),
        ({"roi": " "}, {"roi": None}),
        ({"format": "auto"}, {"format": "auto"}),
        ({"size": "10mp"}, {"size": "10MP"}),
        ({"size": "Regular"}, {"size": "preview"}),
        ({"size": "4:5", "scale": "85.0%", "position": "50% 100%"}, {"scale": "85%", "position": "50% 100%"}),
        ({"shadow": "drop", "shadow_opacity": "30"}, {"shadow": "drop", "shadow_opacity": 30}),
    ],
)
def test_what_is_written_in_many_ways_is_stored_in_one(fields: dict[str, Any], stored: dict[str, Any]) -> None:
    options = read_options(fields)
    dumped = options.model_dump(mode="json")
    assert dumped | stored == dumped
    assert RemovalOptions.model_validate(dumped) == options


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"padding": True}, "padding: "),
        ({"padding": "1 2 3"}, "padding: 1, 2 or 4 lengths like 10px or 5% are expected"),
        ({"size": "9000x10"}, "size: original, preview, medium, hd, 10MP, full, 50MP, a canvas like 2000x2000"),
        ({"scale": "5%"}, "scale: original, or 10% to 100% is expected (given: '5%')"),
        ({"roi": "0 0 50 50"}, "roi: x1 y1 x2 y2 are expected, each like 10px or 5% (up to 100%), or 0 (given: "),
        ({"roi": 5}, "roi: "),
        ({"position": "left"}, "position: original, center, or one or two values of 0% to 100%"),
        ({"shadow": "3D"}, "shadow: Input should be 'none' or 'drop'"),
        ({"shadow_opacity": 101}, "shadow_opacity: "),
        ({"model": "u3net"}, "model: Input should be 'isnet-general-use', 'u2net', 'u2netp'"),
        ({"operation": "upscale"}, "operation: there is no such operation; there are remove-background, blur-back"),
        ({"operation": "replace-background"}, "background: replace-background needs one"),
        ({"operation": "mask", "background": "red"}, "background: mask takes none (given: 'red')"),
        ({"operation": "mask", "shadow": "drop"}, "shadow: mask takes none"),
        ({"operation": "mask", "format": "zip"}, "format: zip keeps the transparency apart, and mask has none"),
    ],
)
def test_one_sentence_for_each(fields: dict[str, Any], said: str) -> None:
    sentence = refusal(**fields)
    assert sentence.startswith(said)
    assert "\n" not in sentence


def test_operations_have_defaults_of_their_own_that_may_be_overruled() -> None:
    assert (read_options({"operation": "mask", "format": "jpg"}).trim, read_options({}).trim) == (False, True)
    assert read_options({"operation": "blur-background"}).background == "blur(2%)"
    blurred = read_options({"operation": "blur-background", "background": "blur(9px)", "trim": "true"})
    assert (blurred.background, blurred.trim) == ("blur(9px)", True)


def test_where_the_subject_goes_when_nobody_says() -> None:
    assert read_options({}).place is read_options({"position": ""}).place is None
    assert read_options({"size": "4:5"}).place == read_options({"scale": "50%"}).place == (0.5, 0.5)
    assert read_options({"size": "4:5", "position": "original"}).place is None
    assert read_options({"position": "10%"}).place == (0.1, 0.1)


def test_the_region_of_interest() -> None:
    assert read_options({}).region is None
    region = (Length(5), Length(0), Length(50, percent=True), Length(10))
    assert read_options({"roi": "5px 0 50% 10px"}).region == region


def test_the_models_are_those_that_there_are() -> None:
    assert list(Model) == list(MODELS)
