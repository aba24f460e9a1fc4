"""The subject alone: on nothing, or on the background that is named."""

from app.imaging.drawing import draw

compose = draw
