"""What somebody wants to have made of his pictures: every door reads it here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.core.config import Settings
from app.core.errors import InvalidRequest
from app.core.options import RemovalOptions
from app.db.models import User
from app.services.about import check_model
from app.services.addresses import check_background
from app.services.recipes import Recipes
from app.services.webhooks import checked

FEW = 8  # that are no batch yet: more of them would keep those of others waiting


class Priority(StrEnum):
    """Who is served first. The value is the name of the queue, too."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


def priority_of(number: int) -> Priority:
    """Of as many pictures that somebody waits for, where he says nothing of it."""
    return Priority.INTERACTIVE if number <= FEW else Priority.BULK


@dataclass(frozen=True)
class Order:
    """`recipe`: whose options these are, as name@version. `webhook_url`: who is told of the end."""

    options: RemovalOptions = field(default_factory=RemovalOptions)
    recipe: str | None = None
    webhook_url: str | None = None
    priority: Priority = Priority.INTERACTIVE
    request_id: str | None = None
    idempotency_key: str | None = None

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What makes two requests for the same picture the same."""
        told = {"webhook_url": self.webhook_url, "recipe": self.recipe, "priority": self.priority}
        return {**told, "options": self.options.model_dump(mode="json")}


@dataclass(frozen=True)
class Orders:
    """The use case with the parts that it works on."""

    settings: Settings
    recipes: Recipes

    def read(
        self,
        user: User,
        fields: Mapping[str, object],
        *,
        priority: Priority = Priority.INTERACTIVE,
        request_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Order:
        """The order that these form fields, or JSON members, are. `priority`: where they name none.

        Raises `InvalidRequest` (also for a webhook's address that is none), `NotFound` for an unknown recipe, and what
        `check_background` and `check_model` do. Asks the database: call it from a thread.
        """
        named = dict(fields)
        webhook_url, wish = _text(named, "webhook_url"), _text(named, "priority")
        if wish and wish not in set(Priority):
            raise _invalid("priority", f"{' or '.join(Priority)} is expected")
        options, recipe = self.recipes.resolve(user, named)
        check_background(options, user.id, self.settings)
        check_model(options, self.settings)
        return Order(
            options=options,
            recipe=recipe,
            webhook_url=checked(webhook_url) if webhook_url else None,
            priority=Priority(wish) if wish else priority,
            request_id=request_id,
            idempotency_key=idempotency_key,
        )


def _text(named: dict[str, object], name: str) -> str | None:
    """Take a text out of the fields."""
    value = named.pop(name, None)
    if value is not None and not isinstance(value, str):
        raise _invalid(name, "a text is expected")
    return value


def _invalid(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {why}.", code="invalid_option")
