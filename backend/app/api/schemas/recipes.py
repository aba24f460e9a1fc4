"""Recipes on the wire."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas.options import Options
from app.services.recipes import NAME, Recipe

RecipeName = Annotated[str, Field(pattern=f"^{NAME}$", examples=["shop"])]


class NewVersion(BaseModel):
    """What a recipe stands for from now on."""

    model_config = ConfigDict(extra="forbid")

    options: Options


class NewRecipe(NewVersion):
    name: RecipeName


class RecipeOut(BaseModel):
    """One version of a recipe."""

    name: str
    version: int
    options: dict[str, Any] = Field(description="Those that it names, and no others.")
    built_in: bool = Field(description="It came with the server: everybody has it.")
    created_at: datetime | None = Field(description="null: it is built in.")

    @classmethod
    def of(cls, recipe: Recipe) -> "RecipeOut":
        return cls(
            name=recipe.name,
            version=recipe.version,
            options=dict(recipe.options),
            built_in=recipe.created_at is None,
            created_at=recipe.created_at,
        )


class RecipeList(BaseModel):
    recipes: list[RecipeOut]
