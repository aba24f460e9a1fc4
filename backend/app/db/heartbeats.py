"""Signs of life: one row for each warm worker child and each sweeper."""

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core.timing import Timing
from app.db.models import WorkerHeartbeat
from app.db.tasks import seconds


def beat(session: Session, process: str, kind: str, *, engine: str | None = None) -> None:
    """Record that the process (`host:pid`) lives, and which engine it runs."""
    session.execute(
        insert(WorkerHeartbeat)
        .values(id=process, kind=kind, engine=engine)
        .on_conflict_do_update(index_elements=["id"], set_={"beat_at": func.now(), "engine": engine})
    )


def remove(session: Session, process: str) -> None:
    """The process ends in good order: it is gone at once, not after the stale time."""
    session.execute(delete(WorkerHeartbeat).where(WorkerHeartbeat.id == process))


def forget_stale(session: Session, *, timing: Timing) -> None:
    """Clear the rows of processes that died long ago."""
    session.execute(
        delete(WorkerHeartbeat).where(WorkerHeartbeat.beat_at < func.now() - seconds(10 * timing.stale_after))
    )


def online(session: Session, kind: str, *, timing: Timing, host: str | None = None) -> int:
    """How many processes of the kind have beaten lately: everywhere, or on one host."""
    query = select(func.count()).where(*_alive(kind, timing))
    if host is not None:
        query = query.where(WorkerHeartbeat.id.startswith(f"{host}:", autoescape=True))
    return session.scalar(query) or 0


def engines(session: Session, *, timing: Timing) -> dict[str, int]:
    """The engines that the warm workers run, and how many of them each."""
    query = (
        select(WorkerHeartbeat.engine, func.count())
        .where(*_alive("worker", timing), WorkerHeartbeat.engine.is_not(None))
        .group_by(WorkerHeartbeat.engine)
        .order_by(WorkerHeartbeat.engine)
    )
    return {engine: count for engine, count in session.execute(query) if engine}


def age(session: Session, kind: str) -> float | None:
    """Seconds since the last sign of life of that kind; None without any."""
    value = session.scalar(
        select(func.extract("epoch", func.now() - func.max(WorkerHeartbeat.beat_at))).where(
            WorkerHeartbeat.kind == kind
        )
    )
    return None if value is None else float(value)


def _alive(kind: str, timing: Timing) -> tuple[ColumnElement[bool], ...]:
    return WorkerHeartbeat.kind == kind, WorkerHeartbeat.beat_at > func.now() - seconds(timing.stale_after)
