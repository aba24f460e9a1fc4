"""The object store in memory: for tests that are not about S3, held to the same contract."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO
from urllib.parse import quote

from app.core.errors import ObjectNotFound
from app.storage.base import Bucket, StoredObject, disposition


class MemoryStore:
    """An `ObjectStore` that forgets everything with its process."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.times: dict[str, datetime] = {}

    def put(self, key: str, body: BinaryIO, content_type: str) -> None:
        self.objects[key] = body.read()
        self.times[key] = datetime.now(UTC)

    def get(self, key: str) -> bytes:
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectNotFound("The object is not there.") from None

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for key, data in sorted(self.objects.items()):
            if key.startswith(prefix):
                yield StoredObject(key, len(data), self.times[key])

    def presign(self, key: str, *, filename: str, attachment: bool = True) -> str:
        return f"memory://{key}?as={quote(disposition(filename, attachment=attachment))}"

    def prepare(self) -> Bucket:
        """There is nothing to prepare."""
        return Bucket.THERE

    def check(self) -> None:
        """It is always there."""
