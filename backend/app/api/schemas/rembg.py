"""The parameters of rembg's server on the wire, as of rembg 2.0.86 (`rembg/commands/s_command.py`)."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from app.core.backgrounds import Colour
from app.core.models import Model
from app.core.options import CONTENT_TYPES, ResultFormat

QUERY = ("bgc", "extras")
"""What is a parameter of the query even where the others are fields of a form."""


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("parameter", "{why}", {"why": message})


class Parameters(BaseModel):
    """How a background is to be removed. Others are passed over, and what is sent empty is not there."""

    model: Model | None = Field(None, description="One of those that `/info` lists; left out: the server's own.")
    a: bool = Field(False, description="Alpha matting: as `quality=best`.")
    af: int = Field(240, ge=0, le=255, description="A threshold of rembg's matting; ours needs none.")
    ab: int = Field(10, ge=0, le=255, description="Likewise.")
    ae: int = Field(10, ge=0, description="Likewise.")
    om: bool = Field(False, description="Only the mask.")
    ppm: bool = Field(False, description="Post-process the mask: as `refine=true`.")
    dc: bool = Field(False, description="Decontaminate the edges: as `refine=true`.")
    vm: bool = Field(False, description="Refine with ViTMatte: as `quality=best`.")
    bgc: str | None = Field(
        None, description="The background's colour: `R,G,B,A`, each 0 to 255.", examples=["255,255,255,255"]
    )
    extras: str | None = Field(None, description="Further parameters of rembg's as JSON: there are none here.")

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_empty(cls, sent: Any) -> Any:
        return {name: value for name, value in sent.items() if value != ""} if isinstance(sent, Mapping) else sent

    @field_validator("bgc")
    @classmethod
    def _a_colour(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = [part.strip() for part in value.split(",")]
        if len(parts) not in (3, 4) or not all(part.isascii() and part.isdigit() and len(part) <= 3 for part in parts):
            raise _wrong("R,G,B,A is expected, four numbers of 0 to 255")
        red, green, blue, alpha = (int(part) for part in [*parts, "255"][:4])
        if max(red, green, blue, alpha) > 255:
            raise _wrong("R,G,B,A is expected, four numbers of 0 to 255")
        return str(Colour((red, green, blue), alpha))

    @field_validator("extras")
    @classmethod
    def _none(cls, value: str | None) -> None:
        if value is not None and "".join(value.split()) not in {"", "{}", "null"}:
            raise _wrong("there are no further parameters here; leave it out")

    def options(self) -> dict[str, object]:
        """The same in our words. As in rembg, only the clean-up counts for a mask, and a mask has no background."""
        matting = (self.a or self.vm) and not self.om
        asked: dict[str, object] = {
            "format": ResultFormat.PNG,
            "trim": False,
            "refine": self.ppm or matting or (self.dc and not self.om),
            "quality": "best" if matting else "balanced",
        }
        if self.model is not None:
            asked["model"] = self.model
        if self.om:
            asked["operation"] = "mask"
        elif self.bgc is not None:
            asked["background"] = self.bgc
        return asked


class Named(Parameters):
    """The same for a picture at a URL."""

    url: str = Field(min_length=1, max_length=2048, description="A public http or https URL of the picture.")


_TOLD = {"X-Model": "The network that it was made with", "X-Task-Id": "Of the task that it was"}
PICTURE: dict[str, Any] = {
    "description": "The picture",
    "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _TOLD.items()},
    "content": {CONTENT_TYPES[ResultFormat.PNG]: {"schema": {"type": "string", "format": "binary"}}},
}


def form() -> dict[str, Any]:
    """The description of the POST: the endpoint reads it by itself, after it knows who is calling."""
    described = Parameters.model_json_schema(ref_template="#/components/schemas/{model}")
    properties = json.loads(json.dumps(described["properties"]))
    file = {"type": "string", "format": "binary", "description": "JPEG, PNG, WEBP or BMP, told by its bytes"}
    fields = {"file": file} | {name: field for name, field in properties.items() if name not in QUERY}
    fields["model"] = {"type": "string", "enum": [*Model, ""], "description": properties["model"]["description"]}
    return {
        "parameters": [{"name": name, "in": "query", "required": False, "schema": properties[name]} for name in QUERY],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": {"type": "object", "properties": fields, "required": ["file"]}}
            },
        },
    }
