"""What accounts have under way, and have had in a month: UTC's, by the database's clock. Nothing here commits."""

from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Date, cast, extract, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core.states import TaskStatus, UploadStatus
from app.db.models import Task, Upload, Usage, User
from app.db.tasks import seconds

FRESH = 60.0  # seconds; an upload that has been pending for longer will not become a task

NOW = func.timezone("UTC", func.now())
THIS_MONTH = cast(func.date_trunc("month", NOW), Date)
A_MONTH: ColumnElement[timedelta] = literal_column("interval '1 month'")


@dataclass(frozen=True)
class Month:
    month: date  # its first day
    images: int
    megapixels: float


def hold_account(session: Session, user_id: UUID) -> None:
    """Until the commit nobody else gets past this for the same account. Rows that refer to it can still be made."""
    session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))


def active(session: Session, user_id: UUID) -> int:
    """Tasks that are not over, and uploads that are about to become one; a batch has limits of its own."""
    unfinished = select(func.count()).where(
        Task.user_id == user_id, Task.finished_at.is_(None), Task.batch_id.is_(None)
    )
    coming = select(func.count()).where(
        Upload.user_id == user_id,
        Upload.status == UploadStatus.PENDING,
        ~Upload.in_batch,
        Upload.created_at > func.now() - seconds(FRESH),
    )
    # One statement, so that an upload becomes a task before both or after both.
    return session.scalar(select(unfinished.scalar_subquery() + coming.scalar_subquery())) or 0


def waiting_in_batches(session: Session, user_id: UUID) -> int:
    query = select(func.count()).where(Task.user_id == user_id, Task.batch_id.is_not(None), Task.is_waiting())
    return session.scalar(query) or 0


def images_this_month(session: Session, user_id: UUID) -> int:
    return session.scalar(select(Usage.images).where(Usage.user_id == user_id, Usage.month == THIS_MONTH)) or 0


def add_images(session: Session, user_id: UUID, number: int, megapixels: float, *, limit: int) -> bool:
    """Count images. False: the month has no room for so many, as `limit` says (0: for any number)."""
    if limit and number > limit:
        return False
    first = insert(Usage).values(user_id=user_id, month=THIS_MONTH, images=number, megapixels=megapixels)
    counting = first.on_conflict_do_update(
        index_elements=[Usage.user_id, Usage.month],
        set_={"images": Usage.images + number, "megapixels": Usage.megapixels + first.excluded.megapixels},
        where=Usage.images + number <= limit if limit else None,
    ).returning(Usage.images)
    return session.scalar(counting) is not None


def add_megapixels(session: Session, user_id: UUID, megapixels: float) -> None:
    """Of an image that was counted before its size was known."""
    session.execute(
        update(Usage)
        .where(Usage.user_id == user_id, Usage.month == THIS_MONTH)
        .values(megapixels=Usage.megapixels + megapixels)
    )


def give_back(session: Session, task_id: UUID) -> None:
    """Take the picture of a failed task off the month in which it was counted; once, however often it is asked for."""
    failed = Task.status == TaskStatus.FAILED
    given = (
        update(Task)
        .where(Task.id == task_id, failed, Task.charged)
        .values(charged=False)
        .returning(Task.user_id, Task.upload_id, Task.created_at)
        .cte("given")
    )
    month = cast(func.date_trunc("month", func.timezone("UTC", given.c.created_at)), Date)
    pixels = func.coalesce(Upload.width, 0) * func.coalesce(Upload.height, 0)
    size = select(pixels / 1e6).where(Upload.id == given.c.upload_id).scalar_subquery()
    session.execute(
        update(Usage)
        .where(Usage.user_id == given.c.user_id, Usage.month == month, Usage.images > 0)
        .values(images=Usage.images - 1, megapixels=func.greatest(0.0, Usage.megapixels - size))
        .execution_options(synchronize_session=False)
    )


def charge_again(session: Session, task_id: UUID) -> bool:
    """The task begins anew. True: its picture is not counted any more, and has to be."""
    charged = update(Task).where(Task.id == task_id, ~Task.charged).values(charged=True).returning(Task.id)
    return session.scalar(charged.execution_options(synchronize_session=False)) is not None


def seconds_left(session: Session) -> float:
    """Until the month's end."""
    return float(session.scalar(select(extract("epoch", THIS_MONTH + A_MONTH - NOW))) or 0)


def last_months(session: Session, user_id: UUID, number: int) -> list[Month]:
    """As many months, the present one first, those without any image too."""
    first = THIS_MONTH - (number - 1) * A_MONTH
    each = func.generate_series(first, THIS_MONTH, A_MONTH).table_valued("month").render_derived()
    day = cast(each.c.month, Date)
    rows = session.execute(
        select(day, func.coalesce(Usage.images, 0), func.coalesce(Usage.megapixels, 0.0))
        .select_from(each)
        .outerjoin(Usage, (Usage.user_id == user_id) & (Usage.month == day))
        .order_by(day.desc())
    )
    return [Month(*row) for row in rows]
