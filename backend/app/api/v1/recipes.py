"""`/recipes`: options under a name."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.api.deps import Caller, ServicesDep, Writer
from app.api.errors import responses
from app.api.schemas.recipes import NewRecipe, NewVersion, RecipeList, RecipeOut
from app.services.recipes import NAME

RecipeName = Annotated[str, Path(pattern=f"^{NAME}$")]

router = APIRouter(prefix="/recipes", tags=["recipes"], max_body_size=65_536)


@router.get("", summary="The recipes that there are, each in its newest version", responses=responses(401, 503))
def list_recipes(services: ServicesDep, user: Caller) -> RecipeList:
    """The account's own, and the built-in ones that it has none of the same name in place of."""
    return RecipeList(recipes=[RecipeOut.of(recipe) for recipe in services.recipes.listed(user)])


@router.post("", status_code=201, summary="Make a recipe", responses=responses(401, 409, 422, 503))
def make_recipe(asked: NewRecipe, response: Response, services: ServicesDep, user: Writer) -> RecipeOut:
    made = services.recipes.make(user, asked.name, asked.options.root)
    response.headers["Location"] = f"/api/v1/recipes/{made.name}"
    return RecipeOut.of(made)


@router.get(
    "/{recipe_name}", summary="All versions of a recipe, the newest first", responses=responses(401, 404, 422, 503)
)
def get_recipe(recipe_name: RecipeName, services: ServicesDep, user: Caller) -> RecipeList:
    return RecipeList(recipes=[RecipeOut.of(recipe) for recipe in services.recipes.versions(user, recipe_name)])


@router.put(
    "/{recipe_name}",
    summary="Make a new version of a recipe of one's own",
    responses=responses(401, 404, 409, 422, 503),
)
def change_recipe(recipe_name: RecipeName, asked: NewVersion, services: ServicesDep, user: Writer) -> RecipeOut:
    """Tasks that were made with an older one keep it, and `name@version` still leads to it."""
    return RecipeOut.of(services.recipes.change(user, recipe_name, asked.options.root))


@router.delete(
    "/{recipe_name}",
    status_code=204,
    summary="Take a recipe of one's own away, with all its versions",
    responses=responses(401, 404, 422, 503),
)
def delete_recipe(recipe_name: RecipeName, services: ServicesDep, user: Writer) -> None:
    services.recipes.delete(user, recipe_name)
