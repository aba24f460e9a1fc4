"""What a caller may ask of one removal: one schema for form fields, JSON members, stored rows and the command line."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from app.core.colours import normalised
from app.core.errors import InvalidRequest
from app.core.validation import sentence


class Operation(StrEnum):
    REMOVE_BACKGROUND = "remove-background"


class Quality(StrEnum):
    """How much work goes into the edges."""

    BALANCED = "balanced"
    BEST = "best"


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


CONTENT_TYPES = {
    ResultFormat.PNG: "image/png",
    ResultFormat.WEBP: "image/webp",
    ResultFormat.JPG: "image/jpeg",
    ResultFormat.ZIP: "application/zip",
}


def _colour(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.strip().lower() in {"", "transparent"}:
        return None
    colour = normalised(value)
    if colour is None:
        raise PydanticCustomError("colour", "this is no colour; write #rgb, #rrggbb, a name such as white, or nothing")
    return colour


class RemovalOptions(BaseModel):
    """The options of one removal, as they are stored with the task.

    `padding` is in pixels of the original and applies only when `trim` is on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    refine: bool = Field(
        True, description="Clean, guided edges in the subject's own colours. Without it the values are rembg's."
    )
    trim: bool = Field(True, description="Cut the result down to the subject.")
    padding: int = Field(10, ge=0, le=4096, description="Pixels kept around the subject when trimming.")
    quality: Quality = Field(
        Quality.BALANCED, description="How much work goes into the edges; without `refine` it means nothing."
    )
    background: Annotated[str | None, BeforeValidator(_colour)] = Field(
        None,
        description="A colour to lay the subject on: #rgb, #rrggbb or a CSS name. Left out: transparent.",
        examples=["#ffffff"],
    )
    # After the background, which decides what goes with it.
    format: ResultFormat = Field(
        ResultFormat.PNG,
        description="jpg needs a background; zip holds color.jpg and alpha.png, and takes none.",
    )

    @field_validator("format")
    @classmethod
    def _goes_with_the_background(cls, value: ResultFormat, info: ValidationInfo) -> ResultFormat:
        if "background" not in info.data:  # wrong by itself, which is said already
            return value
        background = info.data["background"]
        if value is ResultFormat.JPG and background is None:
            raise PydanticCustomError("no_background", "jpg cannot be transparent: name a background, such as #ffffff")
        if value is ResultFormat.ZIP and background is not None:
            raise PydanticCustomError("background", "zip keeps the transparency apart, and so takes no background")
        return value

    @property
    def background_rgb(self) -> tuple[int, int, int] | None:
        """Red, green and blue, 0..255 each; None for transparent."""
        if self.background is None:
            return None
        red, green, blue = bytes.fromhex(self.background.removeprefix("#"))
        return red, green, blue


def read_options(fields: Mapping[str, object]) -> RemovalOptions:
    """The options that somebody has named; `InvalidRequest` says which one is wrong, what was given and what may be."""
    try:
        return RemovalOptions.model_validate(fields)
    except ValidationError as error:
        raise InvalidRequest(sentence(error.errors(), quote=True), code="invalid_option") from error
