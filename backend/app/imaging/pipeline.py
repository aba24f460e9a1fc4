"""A removal from the file's bytes to the finished file, in two halves: the matte, and what is made with it.

The first half needs the network and a second or so; the second needs neither, and can be done again from a matte that
was kept.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from app.imaging.cutout import CutoutOptions as CutoutOptions
from app.imaging.decode import DecodedImage, decode
from app.imaging.drawing import Composed
from app.imaging.encode import encode, settled
from app.imaging.engines.base import Engine
from app.imaging.errors import UnknownForeground
from app.imaging.isnet import preprocess
from app.imaging.limits import ImageLimits
from app.imaging.matte import Matte, enlarge_as_rembg, in_the_square, read_matte
from app.imaging.matting import solve_band
from app.imaging.operations import load
from app.imaging.refine import clean, level
from app.imaging.trim import Box, region_box
from app.imaging.upsampling import enlarge

Prepare = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Cutout:
    """A finished removal. Sizes in pixels; the original's as displayed. `subject_box`, `result_box`: where the subject
    is in the original and in the result. `stage_seconds`: by name, in order."""

    data: bytes = field(repr=False)
    format: str
    width: int
    height: int
    original_width: int
    original_height: int
    subject_box: Box
    result_box: Box
    confidence: float
    stage_seconds: dict[str, float]
    found: Matte | None = field(default=None, repr=False)  # None: it was kept
    """What the network has cost, without the picture's own transparency: worth keeping."""


def cut_out(
    data: bytes,
    engine: Engine,
    options: CutoutOptions,
    limits: ImageLimits,
    on_stage: Callable[[str], None] = lambda stage: None,
    find_kept: Callable[[tuple[int, int]], Matte | None] = lambda shape: None,
    prepare: Prepare = preprocess,
) -> Cutout:
    """Removes the background of one picture.

    Args:
        data: the picture's file.
        engine: runs the network.
        options: what the caller asked for.
        limits: what is accepted.
        on_stage: called with "decoding", "inferring", "refining", "encoding" as each begins. What it raises ends the
            removal, and reaches the caller.
        find_kept: asked for the matte that was found before, with the picture's height and width. There is no
            "inferring" then, nor for an operation that has a matte of its own.
        prepare: what the engine's network wants to see of a picture, uint8, H x W x 3.

    Raises:
        ImageError: the picture cannot be read, is not accepted, or has no subject.
    """
    stages = _Stages(on_stage)
    with stages("decoding"):
        image = decode(data, limits)
        height, width = image.rgb.shape[:2]
        if options.roi is not None:
            region_box(options.roi, width, height)  # before the network has run for nothing
        own = load(options.operation).matte
        kept = find_kept((height, width)) if own is None else Matte(own(data, width, height), 1.0)
    if kept is None:
        with stages("inferring"):
            raw = engine.infer(prepare(image.rgb))
    with stages("refining"):
        matte = find_matte(raw, image, options) if kept is None else _accepted(kept, options)
    with stages("encoding"):
        composed = compose(image, matte.alpha, options)
        confidence, found = matte.confidence, matte if kept is None else None
        del image, matte  # 12 megapixels are 48 MB, and encoding needs room
        pixels, format_ = settled(composed.pixels, options.format)
        encoded = encode(pixels, format_)
    return Cutout(
        data=encoded,
        format=format_,
        width=composed.pixels.shape[1],
        height=composed.pixels.shape[0],
        original_width=width,
        original_height=height,
        subject_box=composed.subject_box,
        result_box=composed.result_box,
        confidence=confidence,
        stage_seconds=stages.seconds,
        found=found,
    )


def _accepted(kept: Matte, options: CutoutOptions) -> Matte:
    """The limit may have been another when it was found."""
    if kept.confidence < options.min_confidence:
        raise UnknownForeground(kept.confidence)
    return kept


def find_matte(raw: npt.NDArray[np.float32], image: DecodedImage, options: CutoutOptions) -> Matte:
    """The first half: from what the network says to a matte of the picture's size.

    Args:
        raw: float32, the network's output, of its square's size.
        image: the picture, H x W; it guides the edges.
        options: `refine`, `quality` and `min_confidence` count.

    Raises:
        UnknownForeground: there is no subject.
    """
    if not options.refine:
        matte = read_matte(raw, options.min_confidence, as_rembg=True)
        height, width = image.rgb.shape[:2]
        return Matte(enlarge_as_rembg(matte.alpha, width, height), matte.confidence)
    matte = read_matte(in_the_square(raw), options.min_confidence)
    alpha = enlarge(level(clean(matte.alpha)), image.rgb)
    if options.quality == "best":
        alpha = solve_band(alpha, image.rgb)
    return Matte(alpha, matte.confidence)


def compose(image: DecodedImage, alpha: npt.NDArray[np.uint8], options: CutoutOptions) -> Composed:
    """The second half: what is encoded, from the picture and its matte.

    Args:
        image: the picture, H x W. Its colours are changed at soft edges, where the background shone through.
        alpha: the matte, uint8, H x W. It is multiplied with the picture's own transparency.
        options: all count but `quality` and `min_confidence`.

    Raises:
        ImageError: the region of interest does not fit the picture; or the subject (UnknownForeground) lies outside of
            it, or where the picture itself is transparent.
    """
    return load(options.operation).compose(image, alpha, options)


class _Stages:
    """Tells that each stage begins, and keeps how long it took."""

    def __init__(self, on_stage: Callable[[str], None]) -> None:
        self._on_stage = on_stage
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._on_stage(name)
        begun = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begun
