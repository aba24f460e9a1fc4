"""The whole picture, with everything but its subject blurred."""

from app.imaging.drawing import draw

NEEDS = ("background",)
DEFAULTS = {"trim": False, "background": "blur(2%)"}

compose = draw
