"""What this server offers: its models with their licences, its operations, its limits."""

from dataclasses import dataclass

from app.core.config import Settings
from app.core.errors import AppError
from app.core.operations import Operation, operations
from app.imaging.formats import CONTENT_TYPES
from app.imaging.limits import ImageLimits
from app.imaging.weights import ISNET_GENERAL_USE, ModelEntry


class ModelRefused(AppError):
    """The settings do not allow this model."""

    code = "model_refused"


@dataclass(frozen=True)
class Offer:
    models: tuple[ModelEntry, ...]
    operations: tuple[Operation, ...]
    formats: tuple[str, ...]
    limits: ImageLimits


def image_limits(settings: Settings) -> ImageLimits:
    """The limits that an image must keep, from the settings."""
    return ImageLimits(
        max_bytes=settings.max_image_bytes,
        min_side=settings.min_image_side,
        max_side=settings.max_image_side,
        max_pixels=settings.max_image_pixels,
    )


def require_licence(settings: Settings) -> None:
    """Raise `ModelRefused` when only weights that are cleared for commerce may be used, and ours are not."""
    model = ISNET_GENERAL_USE
    if settings.commercial_only and not model.commercial:
        raise ModelRefused(f"COMMERCIAL_ONLY is set, and the licences of {model.name} are not cleared for commerce.")


def offer(settings: Settings) -> Offer:
    return Offer((ISNET_GENERAL_USE,), tuple(operations().values()), tuple(CONTENT_TYPES), image_limits(settings))
