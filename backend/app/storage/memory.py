"""The object store in memory: for tests that are not about S3, held to the same contract."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import BinaryIO
from urllib.parse import quote

from app.core.errors import ObjectNotFound
from app.storage.base import PUT_SECONDS, Bucket, SignedPut, StoredObject, disposition


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

    def size(self, key: str) -> int:
        return len(self.get(key))

    def read(self, key: str, into: BinaryIO, *, max_bytes: int) -> None:
        into.write(self.get(key)[:max_bytes])

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for key, data in sorted(self.objects.items()):
            if key.startswith(prefix):
                yield StoredObject(key, len(data), self.times[key])

    def presign(self, key: str, *, filename: str, attachment: bool = True, at_least: int = 0) -> str:
        return f"memory://{key}?as={quote(disposition(filename, attachment=attachment))}"

    def presign_put(self, key: str, *, content_type: str, size_bytes: int) -> SignedPut:
        headers = {"Content-Type": content_type, "Content-Length": str(size_bytes)}
        return SignedPut(key, f"memory://{key}", headers, datetime.now(UTC) + timedelta(seconds=PUT_SECONDS))

    def prepare(self) -> Bucket:
        """There is nothing to prepare."""
        return Bucket.THERE

    def check(self) -> None:
        """It is always there."""
