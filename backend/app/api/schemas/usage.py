"""An account's use and its limits, on the wire."""

from dataclasses import asdict
from typing import Self

from pydantic import BaseModel, Field

from app.db.usage import Month
from app.services.usage import Used


class MonthOut(BaseModel):
    month: str = Field(description="A calendar month, UTC.", examples=["2026-11"])
    images: int
    megapixels: float

    @classmethod
    def of(cls, month: Month) -> Self:
        return cls(month=f"{month.month:%Y-%m}", images=month.images, megapixels=round(month.megapixels, 3))


class LimitOut(BaseModel):
    limit: int | None = Field(description="null: there is none.", examples=[600])
    remaining: int | None = Field(description="What is left of it now.", examples=[598])


class LimitsOut(BaseModel):
    requests_per_minute: LimitOut = Field(description="Requests that change something.")
    reads_per_minute: LimitOut = Field(description="Requests that only read.")
    megapixels_per_minute: LimitOut = Field(description="What may be put in the queue.")
    active_tasks: LimitOut = Field(description="Tasks that are not over.")
    images_per_month: LimitOut


class UsageOut(MonthOut):
    """The present month, and those before."""

    active_tasks: int = Field(description="Tasks that are not over, without those of batches.")
    limits: LimitsOut
    months: list[MonthOut] = Field(description="The last twelve, the present one first.")

    @classmethod
    def told(cls, used: Used) -> Self:
        limits = {
            name: LimitOut(limit=limit or None, remaining=used.left.get(name))
            for name, limit in asdict(used.limits).items()
        }
        months = [MonthOut.of(month) for month in used.months]
        return cls(
            **months[0].model_dump(),
            active_tasks=used.active_tasks,
            limits=LimitsOut(**limits),
            months=months,
        )
