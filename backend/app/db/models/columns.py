"""What the tables have in common."""

from typing import Any

from sqlalchemy import DateTime, text

Timestamp = DateTime(timezone=True)
NOW = text("now()")


def one_of(column: str, values: Any) -> str:
    """SQL for "column is one of these words"; the words are our own enumerations, never a user's."""
    return f"{column} IN ({', '.join(repr(str(v)) for v in sorted(values))})"
