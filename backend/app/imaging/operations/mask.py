"""The matte of the whole picture, in grey: white where the subject is."""

from app.imaging.drawing import draw_mask

DEFAULTS = {"trim": False}
REFUSES = ("background", "shadow")
OPAQUE = True

compose = draw_mask
