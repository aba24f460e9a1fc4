"""What the processes tell of themselves."""

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    Double,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.db.models.columns import NOW, Timestamp, one_of


class Counter(Base):
    """What all processes together have counted, for those who watch; never a reason for anything."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    labels: Mapped[str] = mapped_column(Text, primary_key=True, server_default="")
    value: Mapped[float] = mapped_column(Double, server_default=text("0"))


class WorkerHeartbeat(Base):
    """One row for each live process: a warm worker child, or a sweeper."""

    __tablename__ = "worker_heartbeats"

    id: Mapped[str] = mapped_column(Text, primary_key=True)  # host:pid
    kind: Mapped[str] = mapped_column(Text)
    engine: Mapped[str | None] = mapped_column(Text)  # of a worker: what it runs the network with, and why
    started_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    beat_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)

    __table_args__ = (CheckConstraint(one_of("kind", {"worker", "sweeper"}), name="kind"),)
