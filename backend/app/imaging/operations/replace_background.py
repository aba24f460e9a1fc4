"""The whole picture, its subject on the background that is named."""

from app.imaging.drawing import draw

NEEDS = ("background",)
DEFAULTS = {"trim": False}

compose = draw
