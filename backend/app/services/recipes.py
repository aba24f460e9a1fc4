"""Recipes: options under a name. A change is a new version; a task names the version that it was made with."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.core.errors import Conflict, InvalidRequest, NotFound
from app.core.options import RemovalOptions, read_options
from app.db import recipes, usage
from app.db.base import Sessions
from app.db.models import Recipe as Row
from app.db.models import User

MAX_RECIPES = 100
MAX_VERSIONS = 1000
NAME = r"[a-z0-9][a-z0-9-]{0,62}"
REFERENCE = re.compile(rf"(?P<name>{NAME})(?:@(?P<version>[1-9][0-9]{{0,5}}))?")

BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    "marketplace-white": {
        "background": "#ffffff",
        "size": "2000x2000",
        "scale": "85%",
        "format": "jpg",
    },
    "portrait-4-5": {"background": "#ffffff", "size": "4:5", "scale": "80%", "format": "jpg"},
    "sticker": {"trim": True, "padding": "4%", "format": "webp"},
    "soft-shadow": {"background": "#ffffff", "shadow": "drop", "padding": "10%", "format": "jpg"},
}


@dataclass(frozen=True)
class Recipe:
    """One version of a recipe. `options`: those that it names, and no others."""

    name: str
    version: int
    options: Mapping[str, Any]
    created_at: datetime | None  # None: it is built in

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"

    @classmethod
    def of(cls, row: Row) -> "Recipe":
        return cls(row.name, row.version, row.options, row.created_at)


def built_in(name: str) -> Recipe | None:
    return Recipe(name, 1, BUILT_IN[name], None) if name in BUILT_IN else None


@dataclass(frozen=True)
class Recipes:
    """The use cases with the part that they work on. An account's own recipe comes before a built-in one."""

    sessions: Sessions

    def resolve(self, user: User, fields: Mapping[str, object]) -> tuple[RemovalOptions, str | None]:
        """The options that somebody has named, and the recipe that they rest on, if `recipe` is among them.

        What is named counts more than what the recipe says. Raises `InvalidRequest`, and `NotFound` for an unknown
        recipe. Asks the database: call it from a thread.
        """
        named = dict(fields)
        reference = named.pop("recipe", None)
        if reference is None:
            return read_options(named), None
        recipe = self._find(user, reference)
        return read_options({**recipe.options, **named}), recipe.reference

    def listed(self, user: User) -> Sequence[Recipe]:
        """The newest version of each, by name: the account's own, and the built-in ones that it has none in place
        of."""
        with self.sessions.begin() as session:
            own = {row.name: Recipe.of(row) for row in recipes.newest(session, user.id)}
        given = {name: found for name in BUILT_IN if (found := built_in(name))}
        return [recipe for _, recipe in sorted((given | own).items())]

    def versions(self, user: User, name: str) -> Sequence[Recipe]:
        """All versions, the newest first."""
        with self.sessions.begin() as session:
            own = [Recipe.of(row) for row in recipes.versions(session, user.id, name)]
        given = built_in(name)
        if not own and given is None:
            raise _unknown()
        return own or [given] if given else own

    def make(self, user: User, name: str, options: Mapping[str, object]) -> Recipe:
        """A new recipe; `Conflict` when there is one of this name, or as many as there may be."""
        kept = _judged(options)
        with self.sessions.begin() as session:
            usage.hold_account(session, user.id)
            if recipes.find(session, user.id, name) is not None:
                raise Conflict(f"There is a recipe {name}: PUT makes a new version of it.", code="recipe_exists")
            if recipes.count(session, user.id) >= MAX_RECIPES:
                message = f"This account has {MAX_RECIPES} recipes, which is all it may have; delete one."
                raise Conflict(message, code="too_many_recipes")
            return _added(session, user, name, kept)

    def change(self, user: User, name: str, options: Mapping[str, object]) -> Recipe:
        """A new version of the account's own recipe."""
        kept = _judged(options)
        with self.sessions.begin() as session:
            usage.hold_account(session, user.id)
            if recipes.find(session, user.id, name) is None:
                raise _unknown()
            return _added(session, user, name, kept)

    def delete(self, user: User, name: str) -> None:
        """All versions of the account's own recipe. Tasks keep the options that they were made with."""
        with self.sessions.begin() as session:
            if not recipes.delete(session, user.id, name):
                raise _unknown()

    def _find(self, user: User, reference: object) -> Recipe:
        parts = REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        if parts is None:
            raise InvalidRequest(
                "recipe: a name like marketplace-white, or name@version like marketplace-white@1, is expected.",
                code="invalid_option",
            )
        name, version = parts["name"], None if parts["version"] is None else int(parts["version"])
        with self.sessions.begin() as session:
            row = recipes.find(session, user.id, name, version)
        if row is not None:
            return Recipe.of(row)
        given = built_in(name)
        if given is None or version not in (None, given.version):
            raise _unknown()
        return given


def _judged(options: Mapping[str, object]) -> dict[str, object]:
    """What the caller has named, in the way that we write it."""
    read = read_options(options).model_dump(mode="json")
    return {name: read[name] for name in options}


def _added(session: Session, user: User, name: str, options: Mapping[str, object]) -> Recipe:
    made = recipes.add(session, user.id, name, options)
    if made.version > MAX_VERSIONS:
        message = f"There have been {MAX_VERSIONS} versions of this recipe, which is all it may have."
        raise Conflict(message, code="too_many_versions")
    return Recipe.of(made)


def _unknown() -> NotFound:
    return NotFound("There is no such recipe.", code="recipe_not_found")
