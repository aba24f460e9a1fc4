"""Originals: recorded before they are stored, marked as stored together with their task."""

from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core.states import Stage, TaskStatus, UploadStatus
from app.db.models import Task, Upload


def mark_stored(session: Session, upload_id: UUID) -> bool:
    """False: it took so long that it was given up, and its object with it."""
    pending = (Upload.id == upload_id) & (Upload.status == UploadStatus.PENDING)
    stored = update(Upload).where(pending).values(status=UploadStatus.STORED).returning(Upload.id)
    return session.scalar(stored) is not None


def arrived(session: Session, upload: Upload) -> bool:
    """What was at its URL is stored, with these facts. False: another attempt has stored it, or nobody wants it."""
    facts = {name: getattr(upload, name) for name in ("sha256", "format", "size_bytes", "width", "height")}
    remote = (Upload.id == upload.id) & (Upload.status == UploadStatus.REMOTE)
    stored = (
        update(Upload).where(remote).values(status=UploadStatus.STORED, source_url=None, **facts).returning(Upload.id)
    )
    return session.scalar(stored.execution_options(synchronize_session=False)) is not None


def being_fetched(session: Session, user_id: UUID, *, but: UUID) -> tuple[int, int]:
    """How many originals are being fetched for the account, and for all others; one task (`but`) does not count."""
    own = func.count().filter(Task.user_id == user_id)
    query = (
        select(own, func.count())
        .join(Upload, Upload.id == Task.upload_id)
        .where(Task.status == TaskStatus.PROCESSING, Task.stage == Stage.DOWNLOADING, Task.id != but)
        .where(Upload.status == UploadStatus.REMOTE)
    )
    mine, every = session.execute(query).one()
    return mine, every - mine


def hold_kept(session: Session, upload_id: UUID) -> bool:
    """Lock an original that is here or on its way, for another task of it. False: it is gone."""
    kept = Upload.status.in_([UploadStatus.STORED, UploadStatus.REMOTE])
    return session.scalar(select(Upload.id).where(Upload.id == upload_id, kept).with_for_update()) is not None
