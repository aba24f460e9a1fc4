"""Originals: recorded before they are stored, marked as stored together with their task."""

from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core.states import UploadStatus
from app.db.models import Upload


def mark_stored(session: Session, upload_id: UUID) -> bool:
    """False: it took so long that it was given up, and its object with it."""
    pending = (Upload.id == upload_id) & (Upload.status == UploadStatus.PENDING)
    stored = update(Upload).where(pending).values(status=UploadStatus.STORED).returning(Upload.id)
    return session.scalar(stored) is not None
