"""A removal from the file's bytes to the finished file, in two halves: the matte, and what is made with it.

The first half needs the network and a second or so; the second needs neither, and can be done again from a matte that
was kept.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from app.imaging.compose import apply_alpha, lay_on
from app.imaging.decode import DecodedImage, decode
from app.imaging.encode import encode
from app.imaging.engines.base import Engine
from app.imaging.errors import UnknownForeground
from app.imaging.foreground import estimate_foreground
from app.imaging.isnet import preprocess
from app.imaging.limits import ImageLimits
from app.imaging.matte import MIN_CONFIDENCE, Matte, enlarge_as_rembg, read_matte
from app.imaging.matting import solve_band
from app.imaging.refine import clean, level
from app.imaging.trim import subject_box
from app.imaging.upsampling import enlarge


@dataclass(frozen=True)
class CutoutOptions:
    """What the caller asks for.

    `refine`: clean, guided and decontaminated edges; without it the values are rembg's. `quality`: "balanced", or
    "best", which adds matting to the refinement. `padding`: pixels kept around the subject when trimming. `background`:
    red, green, blue, 0..255 each; None for transparent. `format`: as in `encode`. `min_confidence`: 0..1, see
    `matte.confidence_of`.
    """

    refine: bool = True
    quality: str = "balanced"
    trim: bool = True
    padding: int = 10
    background: tuple[int, int, int] | None = None
    format: str = "png"
    min_confidence: float = MIN_CONFIDENCE


@dataclass(frozen=True)
class Cutout:
    """A finished removal. Sizes in pixels; the original's as displayed. `stage_seconds`: by name, in order."""

    data: bytes = field(repr=False)
    format: str
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
    stages = _Stages(on_stage)
    with stages("decoding"):
        image = decode(data, limits)
        height, width = image.rgb.shape[:2]
    with stages("inferring"):
        raw = engine.infer(preprocess(image.rgb))
    with stages("refining"):
        matte = find_matte(raw, image, options)
    with stages("encoding"):
        pixels = compose(image, matte.alpha, options)
        confidence = matte.confidence
        del image, matte  # 12 megapixels are 48 MB, and encoding needs room
        encoded = encode(pixels, options.format)
    return Cutout(
        data=encoded,
        format=options.format,
        width=pixels.shape[1],
        height=pixels.shape[0],
        original_width=width,
        original_height=height,
        confidence=confidence,
        stage_seconds=stages.seconds,
    )


def find_matte(raw: npt.NDArray[np.float32], image: DecodedImage, options: CutoutOptions) -> Matte:
    """The first half: from what the network says to a matte of the picture's size.

    Args:
        raw: float32, 1024 x 1024, the network's output.
        image: the picture, H x W; it guides the edges.
        options: `refine`, `quality` and `min_confidence` count.

    Raises:
        UnknownForeground: there is no subject.
    """
    matte = read_matte(raw, options.min_confidence, as_rembg=not options.refine)
    if not options.refine:
        height, width = image.rgb.shape[:2]
        return Matte(enlarge_as_rembg(matte.alpha, width, height), matte.confidence)
    alpha = enlarge(level(clean(matte.alpha)), image.rgb)
    if options.quality == "best":
        alpha = solve_band(alpha, image.rgb)
    return Matte(alpha, matte.confidence)


def compose(image: DecodedImage, alpha: npt.NDArray[np.uint8], options: CutoutOptions) -> npt.NDArray[np.uint8]:
    """The second half: what is encoded, from the picture and its matte.

    Args:
        image: the picture, H x W. Its colours are changed at soft edges, where the background shone through.
        alpha: the matte, uint8, H x W. It is multiplied with the picture's own transparency.
        options: `refine`, `trim`, `padding` and `background` count.

    Returns:
        uint8, h x w x 4 (BGRA, as `compose.apply_alpha` gives it), or h x w x 3 (BGR) on a background.

    Raises:
        UnknownForeground: the subject lies where the picture itself is transparent.
    """
    if options.refine:
        estimate_foreground(image.rgb, alpha)
    if image.alpha is not None:
        # Not before: nothing shone through where the file itself is transparent, its colours are the subject's alone.
        alpha = np.asarray(cv2.multiply(alpha, image.alpha, scale=1 / 255), dtype=np.uint8)
    if not alpha.any():
        raise UnknownForeground
    box = subject_box(alpha, options.padding) if options.trim else np.s_[:, :]
    cutout = apply_alpha(image.rgb[box], alpha[box])
    return cutout if options.background is None else lay_on(cutout, options.background)


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
