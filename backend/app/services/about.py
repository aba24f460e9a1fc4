"""What this server offers: its models with their licences, its operations, its limits."""

from dataclasses import dataclass

from app.core.config import Settings
from app.core.errors import AppError, InvalidRequest
from app.core.operations import Operation, operations
from app.core.options import RemovalOptions
from app.imaging.formats import CONTENT_TYPES
from app.imaging.limits import ImageLimits
from app.imaging.models import ISNET_GENERAL_USE, MODELS, ModelEntry


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
    """Raise `ModelRefused` when only weights that are cleared for commerce may be used, and some of ours are not."""
    for model in offered(settings):
        if settings.commercial_only and not model.commercial:
            why = f"COMMERCIAL_ONLY is set, and the licences of {model.name} are not cleared for commerce."
            raise ModelRefused(why)


def offered(settings: Settings) -> tuple[ModelEntry, ...]:
    """The server's own model, and those that `EXTRA_MODELS` names."""
    return (ISNET_GENERAL_USE, *(MODELS[name] for name in settings.extra_models))


def memory_of_extras(settings: Settings) -> int:
    """Bytes that a worker's process should have beyond the usual: one of them is held at a time."""
    return max((MODELS[name].memory for name in settings.extra_models), default=0)


def check_model(asked: RemovalOptions, settings: Settings) -> None:
    """Raise `InvalidRequest` for a model that is not offered here."""
    names = [model.name for model in offered(settings)]
    if asked.model not in names:
        raise InvalidRequest(
            f"model: {asked.model} is not switched on here; there is {', '.join(names)}. Whoever runs this server "
            "can name it in the setting EXTRA_MODELS.",
            code="invalid_option",
        )


def offer(settings: Settings) -> Offer:
    return Offer(offered(settings), tuple(operations().values()), tuple(CONTENT_TYPES), image_limits(settings))
