"""remove.bg's interface on the wire."""

from typing import Any

from app.api.schemas.tasks import one_of
from app.core.options import CONTENT_TYPES

_NUMBERS = {name: {"type": "integer"} for name in ("top", "left", "width", "height")}
_DATA = {"result_b64": {"type": "string", "format": "byte"}} | {
    f"foreground_{name}": schema for name, schema in _NUMBERS.items()
}
_TOLD = {
    "X-Type": "The kind of subject, unless `type_level` is `none`",
    "X-Width": "Of the result, in pixels",
    "X-Height": "Likewise",
    "X-Max-Width": "That the largest `size` would have given",
    "X-Max-Height": "Likewise",
    "X-Credits-Charged": "Always 1",
    "X-Foreground-Top": "Where the subject is in the result, in pixels",
    "X-Foreground-Left": "Likewise",
    "X-Foreground-Width": "Likewise",
    "X-Foreground-Height": "Likewise",
    "X-RateLimit-Limit": "Megapixels that may come in a minute",
    "X-RateLimit-Remaining": "Those that are left",
    "X-RateLimit-Reset": "When there are more, in Unix seconds",
    "X-Task-Id": "Of the task that it was",
}
ANSWER: dict[str, Any] = {
    "description": "The picture, or the same as JSON where `Accept` names that",
    "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _TOLD.items()},
    "content": {
        **{kind: {"schema": {"type": "string", "format": "binary"}} for kind in CONTENT_TYPES.values()},
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"data": {"type": "object", "properties": _DATA, "required": list(_DATA)}},
                "required": ["data"],
            }
        },
    },
}

# Of any type: numbers and booleans are as good as their texts. Whatever else is sent is passed over.
_PARAMETERS = {
    "size": "`preview` (0.25 megapixels at most; also `small`, `regular`), `medium` (1.5), `hd` (4), `full` (25; also"
    " `4k`, `auto`) or `50MP`. A png has 10 at most.",
    "type": "`auto`, `person`, `product`, `animal`, `car`, `transportation`, `graphic` or `other`. Kinds are not told"
    " apart: it decides over shadows and `X-Type` alone.",
    "type_level": "`none`, `1`, `2` or `latest`: how fine the kinds of `X-Type` are.",
    "format": "`auto` (jpg where nothing is transparent, else png), `png`, `jpg` (on white), `webp` or `zip`.",
    "roi": "`x1 y1 x2 y2`, each like `10px` or `5%`: outside of it nothing is subject.",
    "crop": "`true`: cut down to the subject.",
    "crop_margin": "1, 2 or 4 lengths like `30px` or `10%`, at most 500px or 50% a side; with `crop`.",
    "scale": "`original`, or `10%` to `100%` of the picture.",
    "position": "`original`, `center`, `N%` or `H% V%`.",
    "channels": "`rgba`, or `alpha` for the matte alone.",
    "shadow_type": "`none`, or `auto`, `car`, `3D`, `drop`, which are all the same soft shadow here.",
    "shadow_opacity": "`auto` or 0 to 100.",
    "add_shadow": "`true`: a shadow where `type` is `car`.",
    "semitransparency": "`true` or `false`; nothing comes of it.",
    "bg_color": "3, 4, 6 or 8 hexadecimal digits, or the name of a colour.",
    "bg_image_url": "The URL of a picture to lay the subject on.",
    "shadow_method": "Nothing comes of it.",
}


def removal_body() -> dict[str, Any]:
    """The description of the request: the endpoint reads it by itself, after it knows who is calling."""
    binary = {"type": "string", "format": "binary"}
    file = {"image_file": binary | {"description": "JPEG, PNG, WEBP or BMP, told by its bytes"}}
    named = {
        "image_file_b64": {"type": "string", "description": "The picture's file in base64."},
        "image_url": {"type": "string", "description": "A public http or https URL of the picture."},
    }
    options = {name: {"description": text} for name, text in _PARAMETERS.items()}
    background = {"bg_image_file": binary | {"description": "The file of a picture to lay the subject on."}}
    plain = {"schema": one_of(named, options)}
    kinds = {
        "multipart/form-data": {"schema": one_of(file | named, options | background)},
        "application/x-www-form-urlencoded": plain,
        "application/json": plain,
    }
    return {"requestBody": {"required": True, "content": kinds}}
