"""The parameters of remove.bg, read into our options.

What they take together and we do not is answered as near to it as can be: a jpg is laid on white, and a zip or a matte
on no background. Of the kinds of subject we tell none apart: it is the one that `type` names, or "other".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from app.api.compat.removebg_bodies import Sent
from app.core.backgrounds import Colour, is_opaque, read_background
from app.core.colours import normalised
from app.core.errors import InvalidRequest
from app.core.measures import CAPS, plain, read_percent, read_position, read_region
from app.core.options import LEAST_SCALE
from app.outbound.urls import InvalidUrl, read_url
from app.services.imports import SentFile

T = TypeVar("T")
Texts = Mapping[str, str]

SIZES = {name: name for name in ("preview", "medium", "hd", "full")} | {
    **dict.fromkeys(("small", "regular"), "preview"),
    **dict.fromkeys(("4k", "auto"), "full"),
    "50mp": "50MP",
}
PNG_CAP = "10MP"
FORMATS = {name: name for name in ("auto", "png", "jpg", "webp", "zip")} | {"jpeg": "jpg"}
BOOLEANS = {**dict.fromkeys(("true", "1", "on"), True), **dict.fromkeys(("false", "0", "off"), False)}
OTHER = "other"
# As they are asked for, and what `X-Type` calls them at each level.
LEVEL_1 = {name: name for name in ("person", "product", "animal", "car")}
LEVEL_2 = LEVEL_1 | {"transportation": "transportation", "graphic": "graphics"}
LEVELS: Mapping[str, Mapping[str, str] | None] = {"none": None, "1": LEVEL_1, "2": LEVEL_2, "latest": LEVEL_2}
TYPES = {name: name for name in (*LEVEL_2, OTHER)} | {"auto": OTHER, "graphics": "graphic"}
SHADOWS = {**dict.fromkeys(("auto", "car", "3d", "drop"), "drop"), "none": "none"}  # there is one kind of ours
OPACITY, OPACITY_OF_CARS = 50, 90  # percent
MAX_MARGIN_PX, MAX_MARGIN_PERCENT = 500, 50
WHITE = "#ffffff"

_MARGIN = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(px|%|)", re.ASCII)
_PERCENT = re.compile(r"\d{3,6}(\.\d{1,6})?%", re.ASCII)
_OPACITY = re.compile(r"\d{1,3}(?:\.\d{1,6})?", re.ASCII)


@dataclass(frozen=True)
class Wanted:
    """`options`: ours, by their names. `background`: a picture that goes with them, still to be stored. `type`: what
    `X-Type` says, if it is said."""

    options: Mapping[str, object]
    background: SentFile | None
    type: str | None


def read_fields(sent: Sent) -> Wanted:
    """What is asked for. Raises `InvalidRequest` with the code that remove.bg has for it; whatever else was sent is
    nobody's business."""
    texts = sent.texts
    kind = _choice(texts, "type", TYPES, OTHER)
    names = _choice(texts, "type_level", LEVELS, LEVEL_1)
    is_matte = _choice(texts, "channels", {"rgba": False, "alpha": True}, default=False)
    written = _choice(texts, "format", FORMATS, "auto")
    background, file = _background(sent)
    for ignored in ("semitransparency", "add_shadow"):
        _switch(texts, ignored)
    options: dict[str, object] = _placed(texts) | {"roi": _roi(texts.get("roi"))}
    shadow = _shadow(texts, kind)
    if is_matte:
        written, background, file = _of_matte(written), None, None
        options["operation"] = "mask"
    else:
        options |= shadow
    if written == "zip":
        background, file = None, None
    is_laid = file is not None or is_opaque(read_background(background or ""))
    if written == "jpg" and not is_laid and not is_matte:
        background = _over_white(background)
    if written == "auto" and is_laid:
        written = "jpg"  # which it would come to
    if background is not None:
        options["background"] = background
    options |= {"format": written, "size": _size(texts, written)}
    return Wanted(options, file, None if names is None else names.get(kind, OTHER))


def _of_matte(written: str) -> str:
    """It is never transparent, and a lossy one is of use to nobody who does not ask for it."""
    return "png" if written in {"auto", "zip"} else written


def _size(texts: Texts, written: str) -> str:
    size = _choice(texts, "size", SIZES, "preview")
    return PNG_CAP if written in {"png", "auto"} and CAPS[size] > CAPS[PNG_CAP] else size


def _placed(texts: Texts) -> dict[str, object]:
    """Where the subject goes. What is cropped to it has no room to move it in."""
    margin = _margin(texts.get("crop_margin", "0"))
    scale, position = texts.get("scale", "original").strip().lower(), texts.get("position", "").strip().lower()
    if scale != "original" and read_percent(scale, LEAST_SCALE, 100) is None:
        raise _wrong("scale", f"original, or {LEAST_SCALE}% to 100% is expected")
    if position not in {"", "original", "center"} and read_position(position) is None:
        raise _wrong("position", "original, center, or one or two values of 0% to 100% are expected, across and down")
    if _switch(texts, "crop"):
        return {"trim": True, "padding": margin}
    # Alone, the original's position is what there is without any.
    placed = {"position": position} if position and (position, scale) != ("original", "original") else {}
    return {"trim": False, "scale": scale} | placed


def _margin(text: str) -> str:
    sides = [_MARGIN.fullmatch(part) for part in text.lower().split()]
    found = [_side(float(side[1]), percent=side[2] == "%") for side in sides if side is not None]
    if len(found) != len(sides) or len(found) not in {1, 2, 4}:
        raise _wrong("crop_margin", "1, 2 or 4 lengths like 30px or 10% are expected")
    return " ".join(found)


def _side(value: float, *, percent: bool) -> str:
    """A larger margin is made as large as there is."""
    return f"{plain(min(value, MAX_MARGIN_PERCENT))}%" if percent else f"{min(round(value), MAX_MARGIN_PX)}px"


def _roi(text: str | None) -> str | None:
    if text is not None and read_region(text) is None:
        if read_region(_PERCENT.sub("100%", text)) is not None:
            raise InvalidRequest("roi: at most 100% is expected.", code="roi_exceeds_bounds")
        raise _wrong("roi", "x1 y1 x2 y2 are expected, each like 10px or 5% (up to 100%), or 0")
    return text


def _shadow(texts: Texts, kind: str) -> dict[str, object]:
    """What is said of the kind that it is counts more than what is said of all. All of it is read."""
    default = "drop" if kind == "car" and _switch(texts, "add_shadow") else "none"
    shadows = {name: _choice(texts, name, SHADOWS, default) for name in _names("shadow_type")}
    opacities = {name: _opacity(texts, name) for name in _names("shadow_opacity")}
    own = f"shadow_type[{kind}]" if f"shadow_type[{kind}]" in texts else "shadow_type"
    opacity = opacities[f"shadow_opacity[{kind}]"]
    if opacity is None:
        opacity = opacities["shadow_opacity"]
    if opacity is None:
        opacity = OPACITY_OF_CARS if kind == "car" else OPACITY
    return {"shadow": shadows[own], "shadow_opacity": opacity}


def _names(name: str) -> list[str]:
    return [name, *(f"{name}[{kind}]" for kind in TYPES)]


def _opacity(texts: Texts, name: str) -> int | None:
    """In percent; None: what is usual."""
    text = texts.get(name, "auto").strip().lower()
    if text == "auto":
        return None
    if not _OPACITY.fullmatch(text) or float(text) > 100:
        raise _wrong(name, "auto, or a number from 0 to 100 is expected")
    return round(float(text))


def _background(sent: Sent) -> tuple[str | None, SentFile | None]:
    """A colour or an address, or a file."""
    colour, url, file = sent.texts.get("bg_color"), sent.texts.get("bg_image_url"), sent.files.get("bg_image_file")
    given = [name for name in ("bg_color", "bg_image_url", "bg_image_file") if name in sent.texts or name in sent.files]
    if len(given) > 1:
        raise InvalidRequest(f"There are {' and '.join(given)}: name one.", code="multiple_bg_sources")
    if colour is not None and colour.strip().lower() != "transparent" and normalised(colour) is None:
        raise _wrong("bg_color", "3, 4, 6 or 8 hexadecimal digits, or the name of a colour such as white are expected")
    if url is not None:
        try:
            read_url(url.strip())
        except InvalidUrl as error:
            raise InvalidRequest(error.message, code="invalid_bg_image_url") from error
        return url.strip(), None
    return (None, file) if colour is None else (colour.strip(), None)


def _over_white(background: str | None) -> str:
    """What a colour that is not opaque looks like on paper."""
    colour = read_background(background or "")
    if not isinstance(colour, Colour):
        return WHITE
    red, green, blue = (round((part * colour.alpha + 255 * (255 - colour.alpha)) / 255) for part in colour.rgb)
    return str(Colour((red, green, blue)))


def _switch(texts: Texts, name: str) -> bool:
    return _choice(texts, name, BOOLEANS, default=False)


def _choice(texts: Texts, name: str, choices: Mapping[str, T], default: T) -> T:
    text = texts.get(name)
    if text is None:
        return default
    try:
        return choices[text.strip().lower()]
    except KeyError:
        raise _wrong(name, f"{', '.join(choices)} are what there is") from None


def _wrong(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {why}.", code=f"invalid_{name.partition('[')[0]}")
