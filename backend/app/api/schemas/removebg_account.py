"""What remove.bg's other two addresses answer. No member more: some clients break on one that they do not know."""

from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel

UNLIMITED = 1_000_000  # credits of an account that may have any number of pictures: JSON knows no endless number


class Credits(BaseModel):
    """One picture costs one."""

    subscription: int
    payg: Literal[0] = 0
    enterprise: Literal[0] = 0
    total: int


class Api(BaseModel):
    free_calls: Literal[0] = 0
    sizes: Literal["all"] = "all"


class Attributes(BaseModel):
    credits: Credits
    api: Api


class Data(BaseModel):
    attributes: Attributes


class AccountOut(BaseModel):
    data: Data

    @classmethod
    def told(cls, images_left: int | None) -> Self:
        """`images_left`: of this month; None: any number."""
        left = UNLIMITED if images_left is None else images_left
        return cls(data=Data(attributes=Attributes(credits=Credits(subscription=left, total=left), api=Api())))


class ImprovementOut(BaseModel):
    id: UUID


def improve_form() -> dict[str, Any]:
    """The description of the request: the endpoint reads it by itself, after it knows who is calling."""
    file = {"type": "string", "format": "binary", "description": "JPEG, PNG, WEBP or BMP, told by its bytes"}
    packed = {"type": "string", "minLength": 1, "description": "The same as base64, instead."}
    more = {  # of any type: a number is as good as its text
        "image_filename": {"description": "What the picture is called."},
        "tag": {"description": "A word to find pictures of one kind by."},
    }
    sent = {"type": "object", "properties": {"image_file_b64": packed, **more}, "required": ["image_file_b64"]}
    form = {"type": "object", "properties": {"image_file": file, **more}, "required": ["image_file"]}
    kinds = {"multipart/form-data": form, "application/x-www-form-urlencoded": sent, "application/json": sent}
    content = {kind: {"schema": schema} for kind, schema in kinds.items()}
    return {"requestBody": {"required": True, "content": content}}
