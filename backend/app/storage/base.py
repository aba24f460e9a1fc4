"""What we need of an object store, and the keys that we use in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import BinaryIO, Protocol
from urllib.parse import quote
from uuid import UUID

from app.core.options import ResultFormat


class Bucket(StrEnum):
    """What is known of the bucket."""

    MADE = "made"  # just now
    THERE = "there"
    HIDDEN = "hidden"  # our keys hold, but may not look: it is taken to be there
    MISSING = "missing"


@dataclass(frozen=True)
class StoredObject:
    key: str
    size_bytes: int
    modified_at: datetime  # by the store's clock, with its zone


@dataclass(frozen=True)
class SignedPut:
    """An address that anyone may put one object to, with exactly these headers, until then."""

    key: str
    url: str
    headers: dict[str, str]
    expires_at: datetime


class ObjectStore(Protocol):
    """Private objects by key. Passing faults raise `StorageUnavailable`, a missing object `ObjectNotFound`."""

    def put(self, key: str, body: BinaryIO, content_type: str) -> None:
        """Store what the file holds from its present position on; a half-written object is never visible."""
        ...

    def get(self, key: str) -> bytes: ...

    def size(self, key: str) -> int:
        """Its length in bytes, without reading it."""
        ...

    def read(self, key: str, into: BinaryIO, *, max_bytes: int) -> None:
        """Write the object into the file, `max_bytes` of it at most."""
        ...

    def delete(self, key: str) -> None:
        """Delete the object; a missing one is fine."""
        ...

    def list(self, prefix: str) -> Iterator["StoredObject"]:
        """Every object whose key begins so."""
        ...

    def presign(self, key: str, *, filename: str, attachment: bool = True, at_least: int = 0) -> str:
        """An address that anyone may read the object from for a limited time, as its own type and under this name.

        `at_least`: for so many seconds, where addresses otherwise hold for less.
        Without its query it is the object's plain address on the public endpoint, where it is refused.
        """
        ...

    def presign_put(self, key: str, *, content_type: str, size_bytes: int) -> SignedPut:
        """Let somebody put one object of this type and size here; the store refuses any other."""
        ...

    def prepare(self) -> Bucket:
        """Make the bucket, unless it is there."""
        ...

    def check(self) -> None:
        """Raise unless the bucket can be reached, within about a second."""
        ...


IMPORTS = "imports/"  # what clients put there themselves, until it is submitted
IMPROVE = "improve/"  # what was sent for the operator to look at, and is his: no row knows of it, and nothing cleans it
PREFIXES = ("originals/", "processed/", "mattes/", IMPORTS, IMPROVE)  # what of the bucket is ours
PUT_SECONDS = 900  # that a signed address to put to holds


def original_key(user_id: UUID, upload_id: UUID) -> str:
    return f"originals/{user_id}/{upload_id}"


def import_key(user_id: UUID, import_id: UUID) -> str:
    """No row knows of it."""
    return f"{IMPORTS}{user_id}/{import_id}"


def improve_key(user_id: UUID, picture_id: UUID) -> str:
    """Beside it, with `.json` behind its name, lies what is known of the picture."""
    return f"{IMPROVE}{user_id}/{picture_id}"


def result_key(user_id: UUID, task_id: UUID, attempt: int, format_: ResultFormat) -> str:
    """Each attempt writes its own object and the row names the winner: a late attempt can overwrite nothing."""
    return f"processed/{user_id}/{task_id}/{attempt}.{format_}"


def matte_key(user_id: UUID, matte_id: UUID) -> str:
    return f"mattes/{user_id}/{matte_id}.png"


def task_of_key(key: str) -> UUID | None:
    """The task whose attempt writes this object; None for any other object."""
    parts = key.split("/")
    return _id(parts[2]) if parts[0] == "processed" and len(parts) == 4 else None


def matte_of_key(key: str) -> UUID | None:
    """The matte that is this object; None for any other object."""
    parts = key.split("/")
    return _id(parts[2].removesuffix(".png")) if parts[0] == "mattes" and len(parts) == 3 else None


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def content_type(key: str) -> str:
    """What the object of this key is stored and handed out as.

    An original never goes under its own type: it is not for a browser to interpret.
    """
    if key.startswith("processed/"):
        for format_ in ResultFormat:
            if key.endswith(f".{format_}"):
                return format_.content_type
    return "application/octet-stream"


def disposition(filename: str, *, attachment: bool) -> str:
    """A Content-Disposition that no file name can break out of (RFC 6266): plain ASCII, then the exact name."""
    kind = "attachment" if attachment else "inline"
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in filename)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
