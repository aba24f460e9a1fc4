"""remove.bg's parameters, each with every value that it has and with some that it has not."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.compat.removebg_bodies import MAX_MARKS, PIECE, Sent, of_json, of_query, read_source
from app.api.compat.removebg_fields import read_fields
from app.core.errors import InvalidRequest, RejectedImage
from app.core.options import read_options
from app.services.imports import SentFile

MATTE = {"operation": "mask", "background": None, "shadow": "none"}
PARAMETERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {},
        {
            "size": "preview", "format": "auto", "trim": False, "scale": "original", "position": None, "roi": None,
            "shadow": "none", "background": None, "operation": "remove-background", "refine": True,
            "quality": "balanced", "model": "isnet-general-use",
        },
    ),
    *[({"size": name, "format": "webp"}, {"size": "preview"}) for name in ("preview", "small", "regular", "Preview")],
    *[({"size": name, "format": "webp"}, {"size": name}) for name in ("medium", "hd", "full")],
    *[({"size": name, "format": "webp"}, {"size": "full"}) for name in ("4k", "auto", "4K")],
    *[({"size": name, "format": "zip"}, {"size": "50MP"}) for name in ("50MP", "50mp")],
    *[({"size": name, "format": "png"}, {"size": "10MP"}) for name in ("full", "auto", "4k", "50MP")],
    *[({"size": name, "format": "png"}, {"size": name}) for name in ("preview", "medium", "hd")],
    ({"size": "full"}, {"size": "10MP", "format": "auto"}),  # it may come to a png
    ({"size": "full", "bg_color": "fff"}, {"size": "full", "format": "jpg"}),  # and now it does not
    ({"size": "full", "bg_color": "fff8"}, {"size": "10MP", "format": "auto"}),
    *[({"type": name}, {"shadow": "none"}) for name in ("auto", "person", "product", "animal", "graphic", "other")],
    *[({"type_level": name}, {}) for name in ("none", "1", "2", "latest")],
    *[({"format": name}, {"format": name}) for name in ("auto", "png", "webp", "zip")],
    *[({"format": name}, {"format": "jpg", "background": "#ffffff"}) for name in ("jpg", "jpeg", "JPG")],
    ({"format": "jpg", "bg_color": "00f"}, {"format": "jpg", "background": "#0000ff"}),
    ({"format": "jpg", "bg_color": "ff000080"}, {"format": "jpg", "background": "#ff7f7f"}),
    ({"format": "zip", "bg_color": "red"}, {"format": "zip", "background": None}),
    ({"roi": "0 0 100% 100%"}, {"roi": None}),
    ({"roi": "10px 5% 100% 90px"}, {"roi": "10px 5% 100% 90px"}),
    *[({"crop": value}, {"trim": True, "padding": "0px"}) for value in ("true", "1", "on", "TRUE", True)],
    *[({"crop": value}, {"trim": False}) for value in ("false", "0", "off", False)],
    ({"crop": "true", "crop_margin": "30px"}, {"padding": "30px"}),
    ({"crop": "true", "crop_margin": 30}, {"padding": "30px"}),
    ({"crop": "true", "crop_margin": "0"}, {"padding": "0px"}),
    ({"crop": "true", "crop_margin": "10% 30px"}, {"padding": "10% 30px"}),
    ({"crop": "true", "crop_margin": "1px 2px 3% 4%"}, {"padding": "1px 2px 3% 4%"}),
    ({"crop": "true", "crop_margin": "80% 900px"}, {"padding": "50% 500px"}),
    ({"crop": "true", "crop_margin": "7.4px"}, {"padding": "7px"}),
    ({"crop_margin": "30px"}, {"trim": False}),
    ({"scale": "original"}, {"scale": "original", "position": None}),
    ({"scale": "50%"}, {"scale": "50%", "position": None}),
    ({"scale": "50%", "position": "original"}, {"scale": "50%", "position": "original"}),
    ({"position": "original"}, {"position": None}),
    ({"position": "center"}, {"position": "center"}),
    ({"position": "20%"}, {"position": "20%"}),
    ({"position": "0% 100%"}, {"position": "0% 100%"}),
    ({"crop": "true", "scale": "50%", "position": "center"}, {"trim": True, "scale": "original", "position": None}),
    ({"channels": "rgba"}, {"operation": "remove-background"}),
    ({"channels": "alpha"}, MATTE | {"format": "png"}),
    ({"channels": "alpha", "format": "jpg", "bg_color": "red"}, MATTE | {"format": "jpg"}),
    ({"channels": "alpha", "format": "zip", "shadow_type": "drop", "crop": 1}, MATTE | {"trim": True, "format": "png"}),
    ({"shadow_type": "none"}, {"shadow": "none"}),
    *[({"shadow_type": name}, {"shadow": "drop", "shadow_opacity": 50}) for name in ("auto", "car", "3D", "drop")],
    ({"shadow_type[car]": "drop"}, {"shadow": "none"}),
    ({"shadow_type[other]": "drop"}, {"shadow": "drop"}),
    ({"shadow_type": "drop", "shadow_type[other]": "none"}, {"shadow": "none"}),
    ({"shadow_type": "none", "shadow_type[product]": "drop", "type": "product"}, {"shadow": "drop"}),
    ({"shadow_type": {"person": "3D"}, "type": "person"}, {"shadow": "drop"}),
    ({"shadow_type": "drop", "shadow_opacity": "30"}, {"shadow_opacity": 30}),
    ({"shadow_type": "drop", "shadow_opacity": 0}, {"shadow_opacity": 0}),
    ({"shadow_type": "drop", "shadow_opacity": 29.6}, {"shadow_opacity": 30}),
    ({"shadow_type": "drop", "shadow_opacity": "auto", "type": "car"}, {"shadow_opacity": 90}),
    ({"shadow_type": "drop", "shadow_opacity": 20, "shadow_opacity[other]": "auto"}, {"shadow_opacity": 20}),
    ({"shadow_type": "drop", "shadow_opacity": 20, "shadow_opacity[other]": 0}, {"shadow_opacity": 0}),
    ({"shadow_type": "drop", "shadow_opacity[car]": 20}, {"shadow_opacity": 50}),
    ({"add_shadow": "true"}, {"shadow": "none"}),
    ({"add_shadow": "true", "type": "car"}, {"shadow": "drop", "shadow_opacity": 90}),
    ({"semitransparency": False}, {"shadow": "none"}),
    *[({"bg_color": word}, {"background": "#aabbcc"}) for word in ("abc", "aabbcc", "#aabbcc", "abcf", "AABBCCFF")],
    *[({"bg_color": word}, {"background": "#aabbcc80"}) for word in ("aabbcc80", "#aabbcc80")],
    ({"bg_color": "red"}, {"background": "#ff0000"}),
    ({"bg_color": "transparent"}, {"background": None}),
    ({"bg_image_url": "https://example.com/a.png"}, {"background": "https://example.com/a.png", "format": "jpg"}),
    ({"shadow_method": "legacy"}, {"shadow": "none"}),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "expected"), PARAMETERS, ids=json.dumps)
def test_what_is_asked_for_is_what_is_made(asked: dict[str, Any], expected: dict[str, Any]) -> None:
    made = made_of(asked)
    assert {name: made[name] for name in expected} == expected


def made_of(asked: dict[str, Any]) -> dict[str, Any]:
    """Our options, of parameters as JSON."""
    sent = of_json(json.dumps(asked).encode())
    return read_options(read_fields(sent).options).model_dump(mode="json")


FAULTS: list[tuple[str, list[Any]]] = [
    ("size", ["huge", "2000x2000", "original", "10MP", 7]),
    ("type", ["dog", True]),
    ("type_level", ["3", 0]),
    ("format", ["gif", "bmp"]),
    ("roi", ["0 0 100%", "a b c d", "0 0 100% x%", "0 0 5 5", "-1px 0 5px 5px", 7]),
    ("crop", ["yes", 2, "tru"]),
    ("crop_margin", ["a", "1px 2px 3px", "-1px", "10em", "1px,2px", "1px 2px 3px 4px 5px"]),
    ("scale", ["5%", "101%", "50", "big"]),
    ("position", ["101%", "left", "50% 50% 50%", "10px"]),
    ("channels", ["rgb", "mask"]),
    ("shadow_type", ["soft", True]),
    ("shadow_type[car]", ["soft"]),
    ("shadow_opacity", ["101", "-1", "half", "50%"]),
    ("shadow_opacity[person]", ["101"]),
    ("add_shadow", ["yes"]),
    ("semitransparency", ["yes", 3]),
    (
        "bg_color",
        ["ab", "12345", "nocolour", "linear-gradient(red, blue)", "blur(2%)", "s3:x", "https://example.com/a"],
    ),
    ("bg_image_url", ["nowhere", "ftp://example.com/a.png", "s3:imports/x", "file:///etc/passwd"]),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in FAULTS for value in values])
def test_what_is_wrong_with_a_parameter(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as raised:
        made_of({name: value})
    assert raised.value.code == f"invalid_{name.partition('[')[0]}"
    assert raised.value.message.startswith((f"{name}: ", "The URL must"))


def test_a_region_of_more_than_all_is_beyond_the_picture() -> None:
    for text in ("0 0 100% 200%", "0% 0% 101% 100%", "0 0 100.5% 9px"):
        with pytest.raises(InvalidRequest) as raised:
            made_of({"roi": text})
        assert raised.value.code == "roi_exceeds_bounds"


# ---- any others

NAMES = sorted({name for name, _ in FAULTS} | {name for asked, _ in PARAMETERS for name in asked})
VALUES = st.sampled_from(
    [value for asked, _ in PARAMETERS for value in asked.values()] + [value for _, values in FAULTS for value in values]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def refusal(read: Callable[[], object]) -> str | None:
    """The code of an error that is expected of it."""
    try:
        assert read()
    except (InvalidRequest, RejectedImage) as error:
        return error.code
    return None


@given(st.dictionaries(st.sampled_from(NAMES), VALUES | ANYTHING))
def test_whatever_is_asked_for_is_made_or_refused_by_its_name(asked: dict[str, Any]) -> None:
    """Never by the name of an option of ours, and never with a crash."""
    known = {f"invalid_{name.partition('[')[0]}" for name in asked}
    assert refusal(lambda: made_of(asked)) in {None, "multiple_bg_sources", "malformed_body", *known}


@given(st.binary())
def test_any_bytes_are_a_body_or_none(body: bytes) -> None:
    assert refusal(lambda: of_json(body)) in {None, "malformed_body"}
    assert refusal(lambda: of_query(body)) in {None, "malformed_body"}


@given(st.dictionaries(st.text(), st.text(), max_size=20))
def test_a_form_is_read_as_it_was_written(fields: dict[str, str]) -> None:
    fields = {name: value for name, value in fields.items() if name not in {"image_file", "bg_image_file"}}
    expected = {name: value for name, value in fields.items() if value and not value.isspace()}
    assert of_query(urlencode(fields).encode()).texts == expected
    assert of_json(json.dumps(fields).encode()).texts == expected


@given(st.text(alphabet="a%é ", min_size=1), st.integers(0, 40))
def test_cut_in_pieces_it_is_the_same(end: str, before: int) -> None:
    value = "x" * (PIECE - before) + end
    assert of_query(b"a=" + quote_plus(value).encode()).texts == {"a": value}


@given(st.binary(min_size=1), st.sampled_from(["", "data:image/png;base64,", " data:;base64,"]), st.integers(1, 80))
def test_base64_is_read_as_it_was_written(data: bytes, before: str, width: int) -> None:
    packed = base64.b64encode(data).decode()
    lines = "\r\n".join(packed[at : at + width] for at in range(0, len(packed), width))
    source = read_source(Sent({"image_file_b64": before + lines}))
    assert isinstance(source, SentFile)
    assert source.file.read() == data


@given(st.text(st.characters(), min_size=1))
def test_any_text_is_base64_or_none(text: str) -> None:
    assert refusal(lambda: read_source(Sent({"image_file_b64": text}))) in {None, "failed_to_read_image"}


@given(st.text(st.characters(), min_size=1))
def test_any_text_is_a_url_or_none(text: str) -> None:
    assert refusal(lambda: read_source(Sent({"image_url": text}))) in {None, "invalid_image_url"}


def test_a_body_that_would_take_all_the_room() -> None:
    for body in (b"[" * 100_000, b"[[]" + b",[]" * MAX_MARKS + b"]", b'{"a":' * 2000, b"9" * 1_000_000):
        with pytest.raises(InvalidRequest, match=r"JSON"):
            of_json(body)


@pytest.mark.parametrize("value", ["1e999", "9" * 5000, "NaN", "-0.0"])
def test_numbers_are_texts(value: str) -> None:
    assert of_json(b'{"a": %b}' % value.encode()).texts == {"a": value}
