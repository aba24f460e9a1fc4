"""Pictures that a request names instead of sending them: by their URL, or by their key in the object store."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast
from uuid import UUID, uuid4

from app.core.config import MIB, Settings
from app.core.errors import (
    ObjectNotFound,
    RejectedImage,
    ServiceUnavailable,
    StorageUnavailable,
)
from app.db.models import User
from app.imaging.errors import FileTooLarge
from app.outbound.urls import filename_of
from app.services.addresses import check_own_key, no_such_key
from app.services.judging import judge
from app.services.orders import Order
from app.services.submission import Submission, Submissions
from app.storage.base import ObjectStore, SignedPut, content_type, import_key


@dataclass(frozen=True)
class SentFile:
    """The request has brought the picture along."""

    file: BinaryIO
    filename: str | None


@dataclass(frozen=True)
class ImageUrl:
    url: str

    @property
    def named(self) -> Mapping[str, str]:
        return {"image_url": self.url}

    @property
    def filename(self) -> str | None:
        return filename_of(self.url)


@dataclass(frozen=True)
class S3Key:
    key: str

    @property
    def named(self) -> Mapping[str, str]:
        return {"s3_key": self.key}

    @property
    def filename(self) -> str | None:
        """The keys that we give out end in an id, which is no name for a file."""
        last = self.key.rpartition("/")[2]
        return last if "." in last else None


Source = SentFile | ImageUrl | S3Key


@dataclass(frozen=True)
class Imports:
    """The use case with the parts that it works on."""

    settings: Settings
    store: ObjectStore
    submissions: Submissions

    def submit(self, source: Source, *, user: User, order: Order) -> Submission:
        """Take a picture in, wherever it is. Blocks: call it from a thread.

        Raises what `Submissions.submit` raises, `InvalidUrl`, `Forbidden` when URLs are switched off, and of a key
        that is not the account's `NotFound`, whether there is such an object or not.
        """
        filename = source.filename
        if isinstance(source, SentFile):
            return self.submissions.submit(source.file, user=user, filename=filename, order=order)
        if isinstance(source, ImageUrl):
            return self.submissions.promise(source.url, user=user, filename=filename, order=order)
        if earlier := self.submissions.earlier(user, source.named, order):
            return earlier
        # Our own copy first, and then the checks: what lies there may change behind them.
        with SpooledTemporaryFile(max_size=MIB) as spooled:
            file = cast(BinaryIO, spooled)
            try:
                self.bring(source, user.id, file)
            except OSError as error:
                raise ServiceUnavailable("There is no room for uploads at the moment.", code="no_space") from error
            file.seek(0)
            return self.submissions.submit(file, user=user, filename=filename, order=order, named=source.named)

    def presign(self, user: User, *, content_type: str, size_bytes: int) -> SignedPut:
        """Let the account put a picture into the store by itself, to be submitted by its key afterwards.

        Raises `TooManyRequests` when its month has no room for one.
        """
        if size_bytes > self.settings.max_image_bytes:
            raise self._too_large(size_bytes)
        self.submissions.admit_image(user)
        key = import_key(user.id, uuid4())
        return self.store.presign_put(key, content_type=content_type, size_bytes=size_bytes)

    def check(self, source: Source) -> None:
        """Raise `RejectedImage` for a picture that was sent and would be refused."""
        if isinstance(source, SentFile):
            judge(source.file, self.settings)

    def put_by(self, file: BinaryIO, user: User) -> str:
        """Store a picture that goes with another one; its key, which is the same for the same picture on the same day,
        and holds as long as that of any import. Raises `RejectedImage`, and as `presign` does."""
        sha256, _ = judge(file, self.settings)
        self.submissions.admit_image(user)
        # By the day: what is put anew is never what is about to be cleaned up.
        named = hashlib.sha256(f"{datetime.now(UTC).date()} {sha256}".encode()).digest()
        key = import_key(user.id, UUID(bytes=named[:16]))
        self.store.put(key, file, content_type(key))
        return key

    def bring(self, source: S3Key, user_id: UUID, into: BinaryIO) -> None:
        """Write the picture into the file. Raises as `submit` does."""
        check_own_key(source.key, user_id, self.settings)
        try:
            if (size := self.store.size(source.key)) > self.settings.max_image_bytes:
                raise self._too_large(size)
            # One byte more than is allowed: should it have grown meanwhile, it is refused as too large.
            self.store.read(source.key, into, max_bytes=self.settings.max_image_bytes + 1)
        except ObjectNotFound as error:
            raise no_such_key() from error
        except StorageUnavailable as error:
            # Keys that may not list the bucket get this answer for what is not there.
            raise no_such_key() if error.reason == "access_denied" else error from error

    def _too_large(self, size_bytes: int) -> RejectedImage:
        error = FileTooLarge(size_bytes, self.settings.max_image_bytes)
        return RejectedImage(str(error), code=error.code)
