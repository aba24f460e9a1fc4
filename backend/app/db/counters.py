"""What is counted: the sums of all processes, and how many tasks are where. Nothing here commits."""

import json
from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.models import Counter

Labels = tuple[tuple[str, str], ...]  # sorted by name
Key = tuple[str, Labels]


def add(session: Session, counted: Mapping[Key, float]) -> None:
    """Add to the sums. Always in the same order, so that two who add at once wait for each other in one direction."""
    rows = sorted((name, _written(labels), value) for (name, labels), value in counted.items())
    statement = insert(Counter).values([dict(zip(("name", "labels", "value"), row, strict=True)) for row in rows])
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["name", "labels"], set_={"value": Counter.value + statement.excluded.value}
        )
    )


def totals(session: Session) -> dict[Key, float]:
    """All sums."""
    rows = session.execute(select(Counter.name, Counter.labels, Counter.value))
    return {(name, _read(labels)): value for name, labels, value in rows}


def _written(labels: Labels) -> str:
    return json.dumps(dict(labels), sort_keys=True) if labels else ""


def _read(text: str) -> Labels:
    return tuple(sorted(json.loads(text).items())) if text else ()
