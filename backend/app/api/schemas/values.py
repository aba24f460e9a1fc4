"""Values of requests, as strict as their description: a text is no number, and a number is no time.

What pydantic takes them for depends on the value, and nobody has told the client.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator


def _number(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value  # 5.0 is a whole number, too
    raise ValueError("a number is expected")


def _written(value: object) -> object:
    if isinstance(value, str) and "-" in value[1:]:
        return value
    raise ValueError("a time is expected, such as 2026-11-21T20:15:00Z")


Written: Any = BeforeValidator(_written)
Numeric: Any = BeforeValidator(_number)  # after the bounds of a field: the description has none that come later
Moment = Annotated[datetime, Written]
AwareMoment = Annotated[AwareDatetime, Written]
