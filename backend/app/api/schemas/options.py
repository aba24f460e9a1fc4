"""The options of a removal as JSON members, and how they are described."""

from types import NoneType
from typing import Any, Self

from pydantic import ConfigDict, RootModel, model_validator

from app.core.options import RemovalOptions
from app.services.orders import Priority

WISHES: dict[str, dict[str, Any]] = {
    "recipe": {
        "type": "string",
        "maxLength": 70,
        "description": "A recipe, by its name or as name@version. The options beside it count more than its own.",
        "examples": ["marketplace-white", "shop@3"],
    },
    "webhook_url": {
        "type": "string",
        "maxLength": 2048,
        "description": "An http or https URL that is told of the end.",
        "examples": ["https://shop.example.com/hooks/pictures"],
    },
    "priority": {
        "type": "string",
        "enum": [*Priority],
        "description": "Which of the account's pictures come first: `interactive` by default, in a batch `bulk`.",
    },
}
KINDS: dict[str, Any] = {"boolean": bool, "integer": int, "string": str, "null": NoneType}


def described() -> dict[str, dict[str, Any]]:
    """The schema of each option, by name; with the choices in their place, for where there is none to keep them."""
    schema = RemovalOptions.model_json_schema()
    choices: dict[str, Any] = {f"#/$defs/{name}": values for name, values in schema["$defs"].items()}
    return {name: choices.get(field.pop("$ref", ""), {}) | field for name, field in schema["properties"].items()}


def _describe(schema: dict[str, Any]) -> None:
    schema.clear()
    schema |= {
        "type": "object",
        "additionalProperties": False,
        "properties": described(),
        "examples": [{"background": "#ffffff", "format": "jpg"}],
    }


def _describe_with_wishes(schema: dict[str, Any]) -> None:
    _describe(schema)
    schema["properties"] |= WISHES


def _fits(value: object, schema: dict[str, Any]) -> bool:
    kinds = [kind["type"] for kind in schema.get("anyOf", [schema])]
    # To Python, true is a number.
    return any(isinstance(value, KINDS[kind]) and (kind == "boolean") == isinstance(value, bool) for kind in kinds)


class Options(RootModel[dict[str, Any]]):
    """Those that somebody names, and no others: what they stand for is decided with a recipe's."""

    model_config = ConfigDict(json_schema_extra=_describe)

    @model_validator(mode="after")
    def _as_described(self) -> Self:
        """A text is no number here, as it is in a form."""
        for name, schema in (described() | WISHES).items():
            if name in self.root and not _fits(self.root[name], schema):
                kinds = " or ".join(kind["type"] for kind in schema.get("anyOf", [schema]))
                raise ValueError(f"{name}: a value of the kind {kinds} is expected")
        return self


class RenderIn(Options):
    """Options by their names, and `recipe`, `webhook_url`, `priority`."""

    model_config = ConfigDict(json_schema_extra=_describe_with_wishes)
