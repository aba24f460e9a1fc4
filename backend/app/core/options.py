"""What a caller may ask of one removal: one schema for form fields, JSON members and stored rows."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Operation(StrEnum):
    REMOVE_BACKGROUND = "remove-background"


class RemovalOptions(BaseModel):
    """The options of one removal, as they are stored with the task.

    `padding` is in pixels of the original and applies only when `trim` is on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    refine: bool = Field(True, description="Refine the matte: clean-up of specks and pinholes.")
    trim: bool = Field(True, description="Cut the result down to the subject.")
    padding: int = Field(10, ge=0, le=4096, description="Pixels kept around the subject when trimming.")
