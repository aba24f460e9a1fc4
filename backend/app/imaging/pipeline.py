"""A removal from the file's bytes to the PNG: the ordered list of steps."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.imaging.compose import apply_alpha
from app.imaging.decode import decode
from app.imaging.encode import encode_png
from app.imaging.engines.base import Engine
from app.imaging.errors import UnknownForeground
from app.imaging.isnet import preprocess
from app.imaging.limits import ImageLimits
from app.imaging.matte import MIN_CONFIDENCE, enlarge, read_matte
from app.imaging.refine import clean, level
from app.imaging.trim import trim


@dataclass(frozen=True)
class CutoutOptions:
    """`padding`: pixels kept around the subject when trimming. `min_confidence`: 0..1, see `matte.confidence_of`."""

    refine: bool = True
    trim: bool = True
    padding: int = 10
    min_confidence: float = MIN_CONFIDENCE


@dataclass(frozen=True)
class Cutout:
    """A finished removal. Sizes in pixels; the original's as displayed. `stage_seconds`: by name, in order."""

    png: bytes = field(repr=False)
    width: int
    height: int
    original_width: int
    original_height: int
    confidence: float
    stage_seconds: dict[str, float]


def cut_out(
    data: bytes,
    engine: Engine,
    options: CutoutOptions,
    limits: ImageLimits,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Cutout:
    """Removes the background of one picture.

    Args:
        data: the picture's file.
        engine: runs the network.
        options: what the caller asked for.
        limits: what is accepted.
        on_stage: called with "decoding", "inferring", "refining", "encoding" as each begins. What it raises ends the
            removal, and reaches the caller.

    Raises:
        ImageError: the picture cannot be read, is not accepted, or has no subject.
    """
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        on_stage(name)
        begun = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - begun

    with stage("decoding"):
        image = decode(data, limits)
        height, width = image.rgb.shape[:2]
    with stage("inferring"):
        raw = engine.infer(preprocess(image.rgb))
    with stage("refining"):
        matte = read_matte(raw, options.min_confidence, as_rembg=not options.refine)
        if options.refine:
            alpha = level(enlarge(clean(matte.alpha), width, height))
        else:
            alpha = enlarge(matte.alpha, width, height)
        rgba = apply_alpha(image, alpha)
        if not rgba[..., 3].any():  # the subject lies where the picture itself is transparent
            raise UnknownForeground
        del image  # 12 megapixels are 36 MB, and encoding needs room
    with stage("encoding"):
        result = trim(rgba, options.padding) if options.trim else rgba
        png = encode_png(result)
    return Cutout(
        png=png,
        width=result.shape[1],
        height=result.shape[0],
        original_width=width,
        original_height=height,
        confidence=matte.confidence,
        stage_seconds=seconds,
    )
