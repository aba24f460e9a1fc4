"""Pictures that a request names instead of sending them: by their URL, or by their key in the object store."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast
from uuid import UUID, uuid4

from app.core.config import MIB, Settings
from app.core.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    ObjectNotFound,
    RejectedImage,
    ServiceUnavailable,
    StorageUnavailable,
)
from app.core.options import RemovalOptions
from app.db.models import User
from app.imaging.errors import FileTooLarge
from app.outbound.client import BodyTooLarge, Outbound
from app.outbound.urls import filename_of
from app.services.submission import Submission, Submissions
from app.storage.base import ObjectStore, SignedPut, import_key

MAX_KEY = 1024  # bytes


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
    outbound: Outbound
    submissions: Submissions

    def submit(
        self,
        source: Source,
        *,
        user: User,
        options: RemovalOptions,
        request_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Submission:
        """Take a picture in, wherever it is. Blocks, for 30 seconds and more: call it from a thread.

        Raises what `Submissions.submit` and `Outbound.fetch` raise, `Forbidden` when URLs are switched off, and of a
        key that is not the account's `NotFound`, whether there is such an object or not.
        """
        submit = partial(
            self.submissions.submit,
            user=user,
            filename=source.filename,
            options=options,
            request_id=request_id,
            idempotency_key=idempotency_key,
        )
        if isinstance(source, SentFile):
            return submit(source.file)
        if earlier := self.submissions.earlier(user, idempotency_key, source.named, options):
            return earlier
        # Our own copy first, and then the checks: what lies there may change behind them.
        with SpooledTemporaryFile(max_size=MIB) as spooled:
            file = cast(BinaryIO, spooled)
            try:
                self._bring(source, user, file)
            except OSError as error:
                raise ServiceUnavailable("There is no room for uploads at the moment.", code="no_space") from error
            file.seek(0)
            return submit(file, named=source.named)

    def presign(self, user: User, *, content_type: str, size_bytes: int) -> SignedPut:
        """Let the account put a picture into the store by itself, to be submitted by its key afterwards.

        Raises `TooManyRequests` when its month has no room for one.
        """
        if size_bytes > self.settings.max_image_bytes:
            raise self._too_large(size_bytes)
        self.submissions.admit_image(user)
        key = import_key(user.id, uuid4())
        return self.store.presign_put(key, content_type=content_type, size_bytes=size_bytes)

    def _bring(self, source: ImageUrl | S3Key, user: User, into: BinaryIO) -> None:
        if isinstance(source, S3Key):
            self._read(source.key, user.id, into)
        else:
            self._fetch(source.url, into)

    def _fetch(self, url: str, into: BinaryIO) -> None:
        if not self.settings.url_ingest_enabled:
            raise Forbidden("Images by URL are switched off on this server.", code="url_ingest_disabled")
        try:
            self.outbound.fetch(url, into, max_bytes=self.settings.max_image_bytes)
        except BodyTooLarge as error:
            raise self._too_large(error.size_bytes) from error

    def _read(self, key: str, user_id: UUID, into: BinaryIO) -> None:
        check_key(key)
        # Another's is refused unseen: neither the words nor the time tell whether it is there.
        if not key.startswith(self._open_to(user_id)):
            raise _no_such_key()
        try:
            if (size := self.store.size(key)) > self.settings.max_image_bytes:
                raise self._too_large(size)
            # One byte more than is allowed: should it have grown meanwhile, it is refused as too large.
            self.store.read(key, into, max_bytes=self.settings.max_image_bytes + 1)
        except ObjectNotFound as error:
            raise _no_such_key() from error
        except StorageUnavailable as error:
            # Keys that may not list the bucket get this answer for what is not there.
            raise _no_such_key() if error.reason == "access_denied" else error from error

    def _open_to(self, user_id: UUID) -> tuple[str, ...]:
        own = (f"imports/{user_id}/", f"originals/{user_id}/")
        return own + self.settings.s3_key_shared_prefixes

    def _too_large(self, size_bytes: int) -> RejectedImage:
        error = FileTooLarge(size_bytes, self.settings.max_image_bytes)
        return RejectedImage(str(error), code=error.code)


def check_key(key: str) -> None:
    """Raise `InvalidRequest` for a key that some store might take for another one's."""
    parts = key.split("/")
    if (
        len(key.encode(errors="surrogatepass")) > MAX_KEY
        or not {"", ".", ".."}.isdisjoint(parts)
        or "\\" in key
        or not key.isprintable()
    ):
        raise InvalidRequest(
            "s3_key: a key is expected as it stands in the bucket, of at most 1024 bytes, without '..', '//', "
            "backslashes, control characters, and a '/' at its beginning or end.",
            code="invalid_s3_key",
        )


def _no_such_key() -> NotFound:
    return NotFound("There is no object of yours under this s3_key.", code="s3_key_not_found")
