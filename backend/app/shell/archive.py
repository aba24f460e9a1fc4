"""The archive of a backup: a plain tar with the database's dump, each object under its key, and a manifest at its end.

Nothing is ever extracted to a path: a member is read by a name that the manifest lists and that has the form of a key.
"""

import hashlib
import io
import re
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, NonNegativeInt, StringConstraints, model_validator

from app.core.errors import AppError
from app.core.options import ResultFormat

DUMP = "database.dump"
MANIFEST = "manifest.json"
FORMAT = 1  # see `Manifest.format`

_MANIFEST_MAX = 256 * 1024 * 1024  # about a million objects
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_ENDING = "|".join(ResultFormat)
_KEY = re.compile(
    rf"(originals/{_UUID}/{_UUID}|mattes/{_UUID}/{_UUID}\.png|processed/{_UUID}/{_UUID}/[0-9]{{1,9}}\.({_ENDING}))",
    re.ASCII,
)


class BackupProblem(AppError):
    """A backup cannot be written, or is not one that can be restored."""

    code = "backup"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Member(_Strict):
    size: NonNegativeInt
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Facts(_Strict):
    """What the database says of itself and of the state that it belongs to."""

    quickbg: str
    revision: str
    postgres: str
    created_at: AwareDatetime
    local_user: UUID


class Manifest(Facts):
    """What a backup holds. It is the last member, so an archive without it was cut off."""

    format: Literal[1] = 1
    objects: NonNegativeInt
    object_bytes: NonNegativeInt
    missing: tuple[str, ...]  # named by the database, but not to be had when the backup was made
    members: Mapping[str, Member]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        sizes = [member.size for name, member in self.members.items() if is_key(name)]
        if len(self.members) != len(sizes) + 1 or DUMP not in self.members:
            raise ValueError("a member that belongs to no backup")
        if (self.objects, self.object_bytes) != (len(sizes), sum(sizes)):
            raise ValueError("the counts do not match the members")
        return self

    @property
    def total_bytes(self) -> int:
        return sum(member.size for member in self.members.values())


class _Head(BaseModel):
    """What every manifest of every version will have."""

    format: int


def is_key(name: str) -> bool:
    """Whether this is a key that we give to an object."""
    return _KEY.fullmatch(name) is not None


def parse_manifest(text: bytes) -> Manifest:
    """Read a manifest, trusting nothing in it.

    Raises:
        BackupProblem: it is of a later version.
        ValueError: it is damaged.
    """
    if _Head.model_validate_json(text).format > FORMAT:
        raise BackupProblem("The backup was made by a newer QuickBG: restore it with that version.")
    return Manifest.model_validate_json(text)


class Writer:
    """Fills an archive. It is a backup once it has been closed with its facts."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115 - see `close`
        self._members: dict[str, Member] = {}

    def add(self, name: str, source: IO[bytes]) -> int:
        """Add all that a file holds; returns how many bytes that is."""
        source.seek(0)
        digest = hashlib.file_digest(source, "sha256").hexdigest()  # type: ignore[arg-type]  # any file will do
        size = source.seek(0, io.SEEK_END)
        self._members[name] = Member(size=size, sha256=digest)
        self._append(name, source, size)
        return size

    def close(self, facts: Facts, missing: list[str]) -> Manifest:
        """Write the manifest and the end."""
        sizes = [member.size for name, member in self._members.items() if name != DUMP]
        manifest = Manifest(
            **facts.model_dump(),
            objects=len(sizes),
            object_bytes=sum(sizes),
            missing=tuple(missing),
            members=self._members,
        )
        text = manifest.model_dump_json(indent=1).encode()
        self._append(MANIFEST, io.BytesIO(text), len(text))
        self._tar.close()
        return manifest

    def _append(self, name: str, source: IO[bytes], size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, int(time.time())
        source.seek(0)
        self._tar.addfile(info, source)


class _TarInfo(tarfile.TarInfo):
    """Refuses the negative sizes that send older Pythons round in circles (CVE-2025-8194)."""

    def _block(self, count: int) -> int:
        if count < 0:
            raise tarfile.ReadError("a negative size")
        return int(super()._block(count))  # type: ignore[misc]  # private, and the same in every Python


class Archive:
    """A backup that is open for reading; use `opened`."""

    def __init__(self, path: Path, tar: tarfile.TarFile) -> None:
        self._path, self._tar = path, tar
        members = tar.getmembers()
        self._infos = {info.name: info for info in members}
        if not members or members[-1].name != MANIFEST or members[-1].size > _MANIFEST_MAX:
            raise BackupProblem(f"{path} is no QuickBG backup, or its end is missing.")
        if not all(info.isreg() and not info.issparse() for info in members):
            raise ValueError("a link, or another thing that is no ordinary file")
        with self.open(MANIFEST) as file:
            self.manifest = parse_manifest(file.read())
        listed = {name: member.size for name, member in self.manifest.members.items()}
        if len(members) != len(listed) + 1 or listed != {info.name: info.size for info in members[:-1]}:
            raise ValueError("not the members that the manifest lists")

    @property
    def keys(self) -> list[str]:
        """Those of all objects."""
        return [name for name in self.manifest.members if name != DUMP]

    def open(self, name: str) -> IO[bytes]:
        """The bytes of one member, which is listed."""
        file = self._tar.extractfile(self._infos[name])
        if file is None:
            raise ValueError("not an ordinary file")
        return file

    def verify(self, on_progress: Callable[[int], None]) -> None:
        """Read everything once and compare its checksums; told of the bytes done.

        Raises:
            BackupProblem: something in it has changed since it was written.
        """
        done = 0
        with _readable(self._path):
            for name, member in self.manifest.members.items():
                with self.open(name) as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
                if found != member.sha256:
                    raise BackupProblem(f"{self._path} is damaged: {name} is not what was saved.")
                done += member.size
                on_progress(done)


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """A backup for reading, its manifest checked against its members.

    Raises:
        BackupProblem: it cannot be read, is damaged, or is something else.
    """
    with _readable(path):
        tar = tarfile.open(path, "r:", tarinfo=_TarInfo)  # noqa: SIM115 - closed below
    with tar:
        with _readable(path):
            archive = Archive(path, tar)
        yield archive


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever a damaged or hostile file does to its readers is one sentence."""
    try:
        yield
    except OSError as error:
        raise BackupProblem(f"{path} cannot be read: {error.strerror or error}.") from error
    except tarfile.TarError as error:
        raise BackupProblem(f"{path} is no QuickBG backup, or its end is missing.") from error
    except (ValueError, OverflowError, EOFError) as error:
        raise BackupProblem(f"{path} is damaged: its members are not those of a backup.") from error
