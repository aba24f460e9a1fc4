"""What pydantic found wrong, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails


def sentence(errors: Sequence[ErrorDetails | Mapping[str, Any]], *, quote: bool) -> str:
    """The first wrong field in words. `quote` repeats what was given: never for a form with a password in it."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return "body: this is not valid JSON."
    where = ".".join(str(part) for part in first["loc"] if part not in {"body", "query", "path", "header"})[:80]
    given = f" (given: {str(first['input'])[:80]!r})" if quote and "input" in first else ""
    return f"{where or 'body'}: {first['msg']}{given}"


def is_text(value: str) -> bool:
    """Whether it can be stored and hashed: no NUL, and no lone half of a surrogate pair, as JSON may hold."""
    return "\x00" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
