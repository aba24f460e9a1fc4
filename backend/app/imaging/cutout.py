"""What is asked of a removal."""

from dataclasses import dataclass

from app.imaging.backgrounds import Background
from app.imaging.canvas import Canvas
from app.imaging.matte import MIN_CONFIDENCE
from app.imaging.trim import Padding, Region


@dataclass(frozen=True)
class CutoutOptions:
    """What the caller asks for.

    `operation`: the name of a file of `operations`. `refine`: clean, guided and decontaminated edges; without it the
    values are rembg's. `quality`: "balanced", or "best", which adds matting to the refinement. `padding`: what is kept
    around the subject when trimming; a number is pixels on each side. `roi`: outside of it nothing is subject.
    `background`: red, green, blue (and alpha), 0..255 each, or as in `backgrounds`; None for transparent. `canvas`,
    `scale`, `position`: see `canvas.plan`. `max_megapixels`: the result is made smaller than this. `shadow`: its
    opacity, 0..1. `format`: as in `encode`, or "auto". `min_confidence`: 0..1, see `matte.confidence_of`.
    """

    operation: str = "remove-background"
    refine: bool = True
    quality: str = "balanced"
    trim: bool = True
    padding: Padding | int = 10
    roi: Region | None = None
    background: Background | None = None
    canvas: Canvas | None = None
    scale: float | None = None
    position: tuple[float, float] | None = None
    max_megapixels: float | None = None
    shadow: float = 0
    format: str = "png"
    min_confidence: float = MIN_CONFIDENCE
