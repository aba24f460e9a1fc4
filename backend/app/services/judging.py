"""What a file is, before anything is done with it. Every picture leaves a line that says whether it was accepted."""

import hashlib
from os import SEEK_END
from typing import BinaryIO

from app.core.config import Settings
from app.core.errors import RejectedImage
from app.core.logging import get_logger
from app.imaging.errors import ImageError
from app.imaging.formats import HEAD_BYTES, sniffed
from app.imaging.probe import ImageFacts, probe
from app.services.about import image_limits

log = get_logger(__name__)


def judge(file: BinaryIO, settings: Settings) -> tuple[str, ImageFacts]:
    """The file's SHA-256 and what its header says; the position is its beginning again. Raises `RejectedImage`."""
    sha256 = digest(file)
    log_picture = log.bind(sha256=sha256, format=sniffed(file.read(HEAD_BYTES)), size_bytes=file.seek(0, SEEK_END))
    try:
        facts = probe(file, image_limits(settings))
    except ImageError as error:
        log_picture.info("image_judged", decision=error.code)
        raise RejectedImage(str(error), code=error.code) from error
    log_picture.info("image_judged", decision="accepted", width=facts.width, height=facts.height)
    file.seek(0)
    return sha256, facts


def digest(file: BinaryIO) -> str:
    """SHA-256 of the whole file, in hex; the position is its beginning before and after."""
    found = hashlib.sha256()
    while chunk := file.read(1 << 20):
        found.update(chunk)
    file.seek(0)
    return found.hexdigest()
