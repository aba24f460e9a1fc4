"""Draws results: what the operations are made of."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from app.imaging import canvas, shadow
from app.imaging.backgrounds import Blur, Gradient, Picture, blur_of, covering, gradient, seen_through
from app.imaging.canvas import Place, Plan, placed
from app.imaging.compose import apply_alpha, lay_on, lay_on_tint, lay_over
from app.imaging.cutout import CutoutOptions
from app.imaging.decode import DecodedImage
from app.imaging.errors import UnknownForeground
from app.imaging.foreground import estimate_foreground
from app.imaging.trim import HAZE, Box, padded, region_box, subject_box

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Composed:
    """What is encoded, and the subject's box in the original and in the result.

    `pixels`: uint8, h x w x 4 (BGRA, as `compose.apply_alpha` gives it), h x w x 3 (BGR) on an opaque background, or
    h x w (grey).
    """

    pixels: Bytes
    subject_box: Box
    result_box: Box


def draw(image: DecodedImage, alpha: Bytes, options: CutoutOptions) -> Composed:
    """The subject, where and on what the options say. The picture's colours are changed at soft edges."""
    background = options.background
    # Now: what the subject takes from its edges, the background keeps.
    blurred = blur_of(image, background) if isinstance(background, Blur) else None
    if options.refine:
        estimate_foreground(image.rgb, alpha)
    alpha = own_alpha(image, alpha, options)
    subject = subject_box(alpha)
    made = plan(alpha, subject, options)
    cutout = placed(apply_alpha(image.rgb[made.source.slices], alpha[made.source.slices]), made)
    if options.shadow:
        shadow.drop_shadow(cutout, made.subject, options.shadow)
    if isinstance(background, tuple):
        cutout = lay_on(cutout, background) if len(background) == 3 else lay_on_tint(cutout, background)
    elif isinstance(background, Gradient):
        cutout = lay_over(cutout, gradient(background, made.width, made.height))
    elif isinstance(background, Picture):
        cutout = lay_over(cutout, covering(background.bgr, made.width, made.height))
    elif blurred is not None:
        cutout = lay_over(cutout, seen_through(blurred, made))
    return Composed(cutout, subject, made.subject)


def draw_mask(image: DecodedImage, alpha: Bytes, options: CutoutOptions) -> Composed:
    """The matte alone, where `draw` puts the subject."""
    alpha = own_alpha(image, alpha, options)
    subject = subject_box(alpha)
    made = plan(alpha, subject, options)
    return Composed(placed(alpha[made.source.slices], made), subject, made.subject)


def own_alpha(image: DecodedImage, alpha: Bytes, options: CutoutOptions) -> Bytes:
    """The matte, times the picture's own transparency, and nothing outside of the region of interest.

    The matte itself stays as it is: it is kept for other options.

    Raises:
        ImageError: the region does not fit the picture; or the subject (UnknownForeground) lies outside of it, or where
            the picture itself is transparent.
    """
    if image.alpha is not None:
        # Not before: nothing shone through where the file itself is transparent, its colours are the subject's alone.
        alpha = np.asarray(cv2.multiply(alpha, image.alpha, scale=1 / 255), dtype=np.uint8)
    if options.roi is not None:
        box = region_box(options.roi, alpha.shape[1], alpha.shape[0])
        within = alpha[box.slices]
        if within.max() <= HAZE:  # which lies around many a subject that is elsewhere
            raise UnknownForeground
        alpha = np.zeros_like(alpha)
        alpha[box.slices] = within
    if not alpha.any():
        raise UnknownForeground
    return alpha


def plan(alpha: Bytes, subject: Box, options: CutoutOptions) -> Plan:
    """What goes where. A shadow counts as padding: it is not cut off, where the frame is not given."""
    picture = Box(0, 0, alpha.shape[1], alpha.shape[0])
    place, limit = Place(options.scale, options.position), options.max_megapixels
    if options.canvas is not None:
        fitted = subject if options.scale is not None else picture
        if options.trim and options.scale is None:
            fitted = _with_shadow(padded(subject, options.padding), subject, options)
        return canvas.on_canvas(picture, subject, fitted, options.canvas, place, limit)
    if options.scale is not None or options.position is not None:
        return canvas.on_picture(picture, subject, place, limit)
    frame = picture
    if options.trim:
        frame = _with_shadow(padded(subject, options.padding).within(picture), subject, options)
    return canvas.framed(picture, subject, frame, limit)


def _with_shadow(frame: Box, subject: Box, options: CutoutOptions) -> Box:
    return frame.around(shadow.room(subject)) if options.shadow else frame
