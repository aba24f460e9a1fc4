"""What a caller may ask of one removal: one schema for form fields, JSON members, stored rows and the command line."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.core import measures
from app.core.backgrounds import Background, NotABackground, is_opaque, read_background
from app.core.errors import InvalidRequest
from app.core.measures import (
    CAPS,
    MAX_MEGAPIXELS,
    MAX_SIDE,
    Length,
    Region,
    Sides,
    read_padding,
    read_percent,
    read_region,
    read_size,
)
from app.core.models import Model
from app.core.operations import REMOVE_BACKGROUND, operations
from app.core.validation import sentence

LEAST_SCALE = 10  # percent

T = TypeVar("T")


class Quality(StrEnum):
    """How much work goes into the edges."""

    BALANCED = "balanced"
    BEST = "best"


class Shadow(StrEnum):
    NONE = "none"
    DROP = "drop"


class ResultFormat(StrEnum):
    """What a result is written as. The value is the extension of its file, too."""

    PNG = "png"
    WEBP = "webp"
    JPG = "jpg"
    ZIP = "zip"  # color.jpg and alpha.png

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES[self]

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return cls("jpg") if value == "jpeg" else None


class Format(StrEnum):
    """What may be asked for: a format, or that it depends on the result."""

    PNG = "png"
    WEBP = "webp"
    JPG = "jpg"
    ZIP = "zip"
    AUTO = "auto"  # jpg where nothing in the result is transparent, else png

    @property
    def results(self) -> tuple[ResultFormat, ...]:
        """What a result may be written as then."""
        return (ResultFormat.PNG, ResultFormat.JPG) if self is Format.AUTO else (ResultFormat(self.value),)

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return cls("jpg") if value == "jpeg" else None


CONTENT_TYPES = {
    ResultFormat.PNG: "image/png",
    ResultFormat.WEBP: "image/webp",
    ResultFormat.JPG: "image/jpeg",
    ResultFormat.ZIP: "application/zip",
}


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("option", "{why}", {"why": message})


def _operation(value: str) -> str:
    if value not in operations():
        raise _wrong(f"there is no such operation; there are {', '.join(operations())}")
    return value


def _name_operations(schema: dict[str, Any]) -> None:
    schema["enum"] = list(operations())


def _padding(value: object) -> object:
    # Rows of the time before there was a choice hold a number.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        return value
    padding = read_padding(text)
    if padding is None:
        raise _wrong("1, 2 or 4 lengths like 10px or 5% are expected, of at most 4096px or 100% each")
    return measures.padding_text(padding)


def _background(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        background = read_background(value)
    except NotABackground as error:
        raise _wrong(str(error)) from error
    return None if background is None else str(background)


def _roi(value: object) -> object:
    if not isinstance(value, str):
        return value
    region = read_region(value) if value.strip() else measures.WHOLE
    if region is None:
        raise _wrong("x1 y1 x2 y2 are expected, each like 10px or 5% (up to 100%), or 0")
    return None if region == measures.WHOLE else measures.region_text(region)


def _size(value: str) -> str:
    if read_size(value) is None:
        raise _wrong(
            f"original, {', '.join(CAPS)}, a canvas like 2000x2000 (up to {MAX_SIDE} pixels a side and "
            f"{MAX_MEGAPIXELS} megapixels) or a shape like 4:5 (up to 10:1) is expected"
        )
    return measures.size_name(value)


def _scale(value: str) -> str:
    if value.strip().lower() in {"", "original"}:
        return "original"
    percent = read_percent(value, LEAST_SCALE, 100)
    if percent is None:
        raise _wrong(f"original, or {LEAST_SCALE}% to 100% is expected")
    return f"{measures.plain(percent)}%"


def _position(value: str | None) -> str | None:
    word = (value or "").strip().lower()
    if not word:
        return None
    if word in {"original", "center"}:
        return word
    position = measures.read_position(word)
    if position is None:
        raise _wrong("original, center, or one or two values of 0% to 100% are expected, across and down")
    return measures.position_text(position)


class RemovalOptions(BaseModel):
    """The options of one removal, as they are stored with the task: texts in the one way that we write them.

    The frame of the result is the subject's box with its padding when `trim` is on, else the picture's own; a canvas
    (`size`) replaces it, and `scale` and `position` alone work on the picture's own frame.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    # First: it decides what the others may be.
    operation: Annotated[str, AfterValidator(_operation)] = Field(
        REMOVE_BACKGROUND,
        description="What is made of the picture; `/info` lists them.",
        json_schema_extra=_name_operations,
    )
    model: Model = Field(
        Model.ISNET_GENERAL_USE,
        description="The network that finds the subject; `/info` lists those that this server offers.",
    )
    refine: bool = Field(
        True, description="Clean, guided edges in the subject's own colours. Without it the values are rembg's."
    )
    trim: bool = Field(
        True,
        description="Cut the result down to the subject. Off by default where the operation keeps the whole picture.",
    )
    padding: Annotated[
        str, BeforeValidator(_padding), WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}]})
    ] = Field(
        "10px",
        description="What is kept around the subject when trimming: 1, 2 (vertical, horizontal) or 4 (top, right, "
        "bottom, left) lengths, each in pixels of the original or in percent of the subject.",
        examples=["10px", "5% 10%"],
    )
    roi: Annotated[str | None, BeforeValidator(_roi)] = Field(
        None,
        description="The region of interest, `x1 y1 x2 y2`: its left upper and right lower corner in the picture as it "
        "is displayed, each in pixels or in percent of the picture's sides. Outside of it nothing is subject.",
        examples=["0px 0px 50% 100%"],
    )
    quality: Quality = Field(
        Quality.BALANCED, description="How much work goes into the edges; without `refine` it means nothing."
    )
    background: Annotated[str | None, BeforeValidator(_background)] = Field(
        None,
        description="What the subject is laid on: a colour (#rgb, #rrggbb or a CSS name; #rgba or "
        "#rrggbbaa, and the result stays as transparent as the colour is), `linear-gradient(90deg, white, navy 80%)`, "
        "`blur(2%)` (the original, blurred), or a picture: `s3:` and a key of yours, or a URL. Left out: transparent.",
        examples=["#ffffff"],
    )
    size: Annotated[str, AfterValidator(_size)] = Field(
        "original",
        description="`original`; at most so many megapixels: `preview` 0.25, `medium` 1.5, `hd` 4, `10MP`, `full` 25, "
        "`50MP`; a canvas like `2000x2000`; or a canvas of a shape like `4:5`.",
        examples=["original", "2000x2000"],
    )
    scale: Annotated[str, AfterValidator(_scale)] = Field(
        "original",
        description="How much of the canvas, or else of the picture's own frame, the subject's box fills: 10% to 100%.",
        examples=["original", "85%"],
    )
    position: Annotated[str | None, AfterValidator(_position)] = Field(
        None,
        description="Where the subject goes: `original`, `center`, `N%` or `H% V%` of the room that is left. Left out: "
        "`center` on a canvas or with a `scale`, else `original`.",
        examples=["center"],
    )
    shadow: Shadow = Field(Shadow.NONE, description="`drop`: a soft shadow, a little below the subject.")
    shadow_opacity: int = Field(50, ge=0, le=100, description="Of the shadow, in percent.")
    # After the background, which decides what goes with it.
    format: Format = Field(
        Format.PNG,
        description="jpg needs an opaque background; zip holds color.jpg and alpha.png, and takes none; auto is jpg "
        "where nothing in the result is transparent, else png.",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_the_operation_has_it(cls, named: Any) -> Any:
        """Operations have defaults of their own."""
        if not isinstance(named, Mapping):
            return named
        operation = operations().get(str(named.get("operation", REMOVE_BACKGROUND)))
        return {**operation.defaults, **named} if operation else named

    @field_validator("*")
    @classmethod
    def _goes_with_the_operation(cls, value: Any, info: ValidationInfo) -> Any:
        operation, name = operations().get(info.data.get("operation", "")), info.field_name
        if operation is not None and name is not None:
            is_default = value == cls.model_fields[name].default
            if name in operation.needs and is_default:
                raise _wrong(f"{operation.name} needs one")
            if name in operation.refuses and not is_default:
                raise _wrong(f"{operation.name} takes none")
        return value

    @field_validator("format")
    @classmethod
    def _goes_with_the_background(cls, value: Format, info: ValidationInfo) -> Format:
        if "background" not in info.data or "operation" not in info.data:  # wrong by itself, which is said already
            return value
        background, opaque = info.data["background"], operations()[info.data["operation"]].opaque
        if value is Format.JPG and not opaque and not is_opaque(background and read_background(background)):
            raise _wrong("jpg cannot be transparent: name a background, such as #ffffff")
        if value is Format.ZIP and background is not None:
            raise _wrong("zip keeps the transparency apart, and so takes no background")
        if value is Format.ZIP and opaque:
            raise _wrong(f"zip keeps the transparency apart, and {info.data['operation']} has none")
        return value

    @property
    def read_background(self) -> Background | None:
        return None if self.background is None else read_background(self.background)

    @property
    def lengths(self) -> tuple[Length, Length, Length, Length]:
        """The padding: top, right, bottom, left."""
        return _certain(read_padding, self.padding)

    @property
    def region(self) -> Region | None:
        """The part of the picture that the subject is in, where it is not all of it."""
        return None if self.roi is None else _certain(read_region, self.roi)

    @property
    def sides(self) -> Sides | None:
        """The canvas, if one is asked for."""
        size = read_size(self.size)
        return size if isinstance(size, Sides) else None

    @property
    def max_megapixels(self) -> float | None:
        return CAPS.get(self.size)

    @property
    def share(self) -> float | None:
        """Of the canvas that the subject fills, 0.1..1; None: no more and no less than it has."""
        return None if self.scale == "original" else _certain(lambda text: read_percent(text, 0, 100), self.scale) / 100

    @property
    def place(self) -> tuple[float, float] | None:
        """Shares of the free room that lie left of the subject and above it, 0..1; None: as in the original."""
        if self.position is None:
            return None if self.sides is None and self.share is None else (0.5, 0.5)
        if self.position == "original":
            return None
        return (0.5, 0.5) if self.position == "center" else _certain(measures.read_position, self.position)


def _certain(read: Callable[[str], T | None], text: str) -> T:
    """What is read of a text that was judged when it came."""
    value = read(text)
    if value is None:
        raise ValueError(text)
    return value


def read_options(fields: Mapping[str, object]) -> RemovalOptions:
    """The options that somebody has named; `InvalidRequest` says which one is wrong, what was given and what may be."""
    try:
        return RemovalOptions.model_validate(fields)
    except ValidationError as error:
        raise InvalidRequest(sentence(error.errors(), quote=True), code="invalid_option") from error
