"""Originals: recorded before they are stored, marked as stored together with their task."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core.states import UploadStatus
from app.db.models import Upload


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


def mark_all_stored(session: Session, upload_ids: Sequence[UUID]) -> int:
    """Likewise for many; how many were not given up."""
    pending = Upload.id.in_(upload_ids) & (Upload.status == UploadStatus.PENDING)
    stored = update(Upload).where(pending).values(status=UploadStatus.STORED).returning(Upload.id)
    return len(session.scalars(stored.execution_options(synchronize_session=False)).all())


def refresh(session: Session, upload: Upload) -> None:
    """Bring a row that was read before up to date."""
    session.add(upload)
    session.refresh(upload)


def is_stored(session: Session, upload_id: UUID) -> bool:
    return session.scalar(select(Upload.status).where(Upload.id == upload_id)) == UploadStatus.STORED


def hold_kept(session: Session, upload_id: UUID) -> bool:
    """Lock an original that is here or on its way, for another task of it. False: it is gone."""
    kept = Upload.status.in_([UploadStatus.STORED, UploadStatus.REMOTE])
    return session.scalar(select(Upload.id).where(Upload.id == upload_id, kept).with_for_update()) is not None
