"""What was asked for, in the words of the pipeline; and the picture that may have to be brought for it."""

import io
import time
from dataclasses import dataclass, field
from uuid import UUID

from app.core import backgrounds, measures
from app.core.config import Settings
from app.core.errors import AppError, InvalidRequest, NotFound, ObjectNotFound, StorageUnavailable
from app.core.options import RemovalOptions, Shadow
from app.imaging.backgrounds import Background, Blur, Gradient, Picture, read_picture
from app.imaging.canvas import Canvas
from app.imaging.cutout import CutoutOptions
from app.imaging.errors import ImageError
from app.imaging.trim import Length, Region
from app.outbound.client import BodyTooLarge, Outbound, UrlNotFetched
from app.services.about import image_limits
from app.services.addresses import check_address
from app.storage.base import ObjectStore

REMEMBERED = 60.0  # seconds that a background from a URL is used again


class BackgroundNotUsable(AppError):
    """The picture that was named as a background cannot be had, or is none."""

    code = "background_not_usable"

    def __init__(self, why: str, *, passing: bool = False) -> None:
        """`passing`: trying again may help."""
        self.retryable = passing
        super().__init__(f"The background cannot be used: {why}")


@dataclass
class _Last:
    """What was fetched last, as the pictures of a batch want it one after the other."""

    wanted: tuple[UUID, str] | None = None
    data: bytes = b""
    at: float = 0.0


@dataclass(frozen=True)
class Backgrounds:
    """The use case with the parts that it works on."""

    settings: Settings
    store: ObjectStore
    outbound: Outbound
    last: _Last = field(default_factory=_Last)

    def is_far(self, asked: RemovalOptions, user_id: UUID) -> bool:
        """Whether it will have to be fetched from a URL."""
        address = asked.read_background
        return isinstance(address, backgrounds.Address) and address.s3_key is None and not self._has(address, user_id)

    def bring(self, asked: RemovalOptions, user_id: UUID) -> Picture | None:
        """The picture that the account names as the background, if it names one. Blocks for 30 seconds at most.

        Raises `BackgroundNotUsable`, and `StorageUnavailable`.
        """
        address = asked.read_background
        if not isinstance(address, backgrounds.Address):
            return None
        try:
            check_address(address, user_id, self.settings)
            return read_picture(self._data(address, user_id), image_limits(self.settings))
        except UrlNotFetched as error:
            raise BackgroundNotUsable(error.message, passing=error.retryable) from error
        except (InvalidRequest, NotFound) as error:
            raise BackgroundNotUsable(error.message) from error
        except (ObjectNotFound, BodyTooLarge) as error:
            gone = isinstance(error, ObjectNotFound)
            why = "There is no such object." if gone else "Its file is too large."
            raise BackgroundNotUsable(why) from error
        except ImageError as error:
            raise BackgroundNotUsable(f"{error}.") from error

    def _has(self, address: backgrounds.Address, user_id: UUID) -> bool:
        return self.last.wanted == (user_id, address.text) and time.monotonic() - self.last.at < REMEMBERED

    def _data(self, address: backgrounds.Address, user_id: UUID) -> bytes:
        file = io.BytesIO()
        most = self.settings.max_image_bytes
        if address.s3_key is None:
            if not self._has(address, user_id):
                self.outbound.fetch(address.text, file, max_bytes=most)
                self.last.wanted, self.last.data = (user_id, address.text), file.getvalue()
                self.last.at = time.monotonic()
            return self.last.data
        try:
            # One byte more than is allowed: then it is refused as too large.
            self.store.read(address.s3_key, file, max_bytes=most + 1)
        except StorageUnavailable as error:
            # Keys that may not list the bucket get this answer for what is not there.
            raise ObjectNotFound(error.message) if error.reason == "access_denied" else error from error
        return file.getvalue()


def cutout_options(asked: RemovalOptions, settings: Settings, picture: Picture | None = None) -> CutoutOptions:
    """What was asked for, in the words of the pipeline. `picture`: what `Backgrounds.bring` has brought."""
    top, right, bottom, left = (Length(side.value, side.percent) for side in asked.lengths)
    sides = asked.sides
    return CutoutOptions(
        operation=asked.operation,
        refine=asked.refine,
        quality=asked.quality,
        trim=asked.trim,
        padding=(top, right, bottom, left),
        roi=_region(asked.region),
        background=_background(asked.read_background, picture),
        canvas=None if sides is None else Canvas(sides.width, sides.height, sides.exact),
        scale=asked.share,
        position=asked.place,
        max_megapixels=asked.max_megapixels,
        shadow=asked.shadow_opacity / 100 if asked.shadow is Shadow.DROP else 0,
        format=asked.format,
        min_confidence=settings.min_confidence,
    )


def _region(asked: measures.Region | None) -> Region | None:
    if asked is None:
        return None
    left, top, right, bottom = (Length(side.value, side.percent) for side in asked)
    return left, top, right, bottom


def _background(asked: backgrounds.Background | None, picture: Picture | None) -> Background | None:
    match asked:
        case backgrounds.Colour(rgb, backgrounds.OPAQUE):
            return rgb
        case backgrounds.Colour(rgb, alpha):
            return (*rgb, alpha)
        case backgrounds.Gradient(degrees, stops):
            return Gradient(degrees, stops)
        case backgrounds.Blur(measures.Length(value, percent)):
            return Blur(Length(value, percent))
        case backgrounds.Address():
            return picture
    return None
