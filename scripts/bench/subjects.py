"""The subjects that the bench draws: a few creatures, things and plants, each with edges that are hard to cut out.

All sizes are in units of the picture's height. A subject stands in the middle, large and well lit, for the network must
take it for one; the randomness comes from the generator given, so that a seed always draws the same.
"""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Colour = tuple[float, float, float]

_SUPERSAMPLING = 2
_SHIFT = 4  # OpenCV takes points in sixteenths of a pixel


class _Look(NamedTuple):
    """Of a hair. `width`: in units. `curl`: in radians."""

    colour: Colour
    width: float
    curl: float


class Canvas:
    """Premultiplied RGBA, on which OpenCV's anti-aliased strokes are exact: each channel moves towards the stroke's."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.unit = height * _SUPERSAMPLING
        self.pixels: Bytes = np.zeros((self.unit, width * _SUPERSAMPLING, 4), np.uint8)

    def polygon(self, points: Points, colour: Colour) -> None:
        cv2.fillPoly(self.pixels, [self._at(points)], (*colour, 255), cv2.LINE_AA, _SHIFT)

    def ellipse(self, x: float, y: float, width: float, height: float, colour: Colour, angle: float = 0.0) -> None:
        """`width`, `height`: half axes. `angle`: in degrees."""
        turn = np.linspace(0, 2 * np.pi, 180)
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        along, across = width * np.cos(turn), height * np.sin(turn)
        self.polygon(np.stack([x + along * cos - across * sin, y + along * sin + across * cos], axis=1), colour)

    def stroke(self, points: Points, colour: Colour, width: float) -> None:
        """`width`: in units; what is thinner than one pixel of the canvas is drawn as wide as that."""
        thickness = max(round(width * self.unit), 1)
        cv2.polylines(self.pixels, [self._at(points)], False, (*colour, 255), thickness, cv2.LINE_AA, _SHIFT)

    def colour_at(self, x: float, y: float) -> Colour:
        """The colour there; of a hidden spot, black."""
        row = min(max(int(y * self.unit), 0), self.pixels.shape[0] - 1)
        column = min(max(int(x * self.unit), 0), self.pixels.shape[1] - 1)
        red, green, blue, alpha = (float(value) for value in self.pixels[row, column])
        return (red, green, blue) if alpha else (0.0, 0.0, 0.0)

    def shade(self, field: Floats) -> None:
        """Makes colours lighter and darker. `field`: factors, of any size; it is stretched over the canvas."""
        height, width = self.pixels.shape[:2]
        for top in range(0, height, 256):  # in strips: a whole canvas in floats would be large
            strip = self.pixels[top : top + 256]
            rows = np.linspace(top, top + len(strip) - 1, len(strip), dtype=np.float32) * (len(field) - 1) / height
            columns = np.linspace(0, field.shape[1] - 1, width, dtype=np.float32)
            x, y = np.meshgrid(columns, rows)
            factor = cv2.remap(field, x, y, cv2.INTER_LINEAR)
            strip[..., :3] = np.minimum(strip[..., :3] * factor[..., None], strip[..., 3:])

    def over(self, other: "Canvas", opacity: float) -> None:
        """Lays another canvas on this one."""
        for top in range(0, len(self.pixels), 256):
            strip = self.pixels[top : top + 256]
            above = other.pixels[top : top + 256] * np.float32(opacity)
            strip[:] = np.rint(above + strip * (1 - above[..., 3:] / 255))

    def blur(self, sideways: float, all_around: float) -> None:
        """Blurs as motion along the rows and as a lens out of focus do; both in units."""
        if sideways > 0:
            self.pixels = np.asarray(cv2.blur(self.pixels, (max(round(sideways * self.unit), 1), 1)), dtype=np.uint8)
        if all_around > 0:
            blurred = cv2.GaussianBlur(self.pixels, (0, 0), all_around * self.unit)
            self.pixels = np.asarray(blurred, dtype=np.uint8)

    def shrunk(self) -> Floats:
        """Premultiplied RGBA at the picture's size, 0..255."""
        shrunk = cv2.resize(self.pixels, (self.width, self.height), interpolation=cv2.INTER_AREA)
        return np.asarray(shrunk, dtype=np.float32)

    def _at(self, points: Points) -> npt.NDArray[np.int32]:
        return np.rint((points * self.unit - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _noise(rng: np.random.Generator, depth: float, finest: int = 128) -> Floats:
    """Factors around 1 that vary at all scales from half the picture to 1/`finest` of it."""
    field = np.zeros((512, 768), np.float32)
    cells, total = 2, 0.0
    while cells <= finest:
        weight = cells**-0.6
        grid = rng.normal(size=(cells, cells * 3 // 2)).astype(np.float32)
        field += np.float32(weight) * cv2.resize(grid, (768, 512), interpolation=cv2.INTER_CUBIC)
        total += weight
        cells *= 2
    return np.asarray(np.clip(1 + field * np.float32(depth / total * 2), 0.3, 1.7), dtype=np.float32)


def _hair(
    canvas: Canvas, rng: np.random.Generator, root: tuple[float, float], angle: float, length: float, look: _Look
) -> None:
    """One curved hair, a little lighter or darker than its root."""
    light = rng.uniform(0.7, 1.25)
    heading = angle + rng.normal(0, look.curl / 2) + rng.normal(0, look.curl) * np.linspace(0, 1, 6)
    reach = length * rng.uniform(0.5, 1.2) / 5
    ahead = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1) * reach, axis=0)
    red, green, blue = (min(max(value * light + rng.uniform(-6, 6), 0), 255) for value in look.colour)
    canvas.stroke(np.vstack([root, root + ahead]), (red, green, blue), look.width * rng.uniform(0.4, 1.6))


def _fur(canvas: Canvas, rng: np.random.Generator, ellipse: tuple[float, ...], count: int, length: float) -> None:
    """Hair all over an ellipse (x, y, half width, half height), from its middle outwards, with wisps at its edge."""
    x, y, width, height = ellipse
    wisps = count // 12
    inner = np.concatenate([np.sort(rng.uniform(0.25, 0.97, count)), np.full(wisps, 0.95)])
    turn = rng.uniform(0, 2 * np.pi, count + wisps)
    roots = [
        (float(x + width * i * np.cos(t)), float(y + height * i * np.sin(t))) for i, t in zip(inner, turn, strict=True)
    ]
    colours = [canvas.colour_at(*root) for root in roots]  # of the skin, before the first hair lies on it
    outwards = np.arctan2(np.sin(turn) / height, np.cos(turn) / width)
    for index, (root, colour, angle) in enumerate(zip(roots, colours, outwards, strict=True)):
        if index < count:
            _hair(canvas, rng, root, float(angle), length, _Look(colour, 0.0016, 0.7))
        else:
            _hair(canvas, rng, root, float(angle), length * 2.2, _Look(colour, 0.0009, 1.0))


def _beast(canvas: Canvas, rng: np.random.Generator, coat: Colour, belly: Colour, length: float) -> None:
    canvas.ellipse(0.75, 0.68, 0.27, 0.30, coat)
    for side in (-1, 1):
        canvas.ellipse(0.75 + side * 0.15, 0.17, 0.07, 0.12, coat, angle=side * 25)
        canvas.ellipse(0.75 + side * 0.15, 0.18, 0.035, 0.08, (205, 150, 140), angle=side * 25)
        canvas.ellipse(0.75 + side * 0.16, 0.90, 0.09, 0.07, coat)
    canvas.ellipse(0.75, 0.72, 0.15, 0.20, belly)
    canvas.shade(_noise(rng, 0.5))
    _fur(canvas, rng, (0.75, 0.68, 0.27, 0.30), 5000, length)
    for side in (-1, 1):
        _fur(canvas, rng, (0.75 + side * 0.15, 0.17, 0.06, 0.10), 500, length * 0.7)
    head = Canvas(canvas.width, canvas.height)
    head.ellipse(0.75, 0.33, 0.20, 0.18, coat)
    head.ellipse(0.75, 0.40, 0.10, 0.08, belly)
    head.shade(_noise(rng, 0.4))
    _fur(head, rng, (0.75, 0.33, 0.20, 0.18), 3000, length)
    for side in (-1, 1):
        head.ellipse(0.75 + side * 0.08, 0.30, 0.032, 0.034, (225, 170, 40))
        head.ellipse(0.75 + side * 0.08, 0.30, 0.018, 0.026, (12, 10, 8))
        head.ellipse(0.75 + side * 0.08 + 0.008, 0.29, 0.006, 0.006, (250, 250, 250))
    head.ellipse(0.75, 0.385, 0.025, 0.018, (60, 30, 30))
    for side in (-1, 1):
        for lift in np.linspace(-0.35, 0.35, 7):
            angle = float(lift if side > 0 else np.pi - lift)
            _hair(head, rng, (0.75 + side * 0.05, 0.41), angle, 0.24, _Look((235, 230, 220), 0.0012, 0.25))
    canvas.over(head, 1.0)


def paint_cat(canvas: Canvas, rng: np.random.Generator) -> None:
    """A red cat with fur and whiskers."""
    _beast(canvas, rng, (200, 130, 60), (240, 215, 180), 0.05)


def paint_wolf(canvas: Canvas, rng: np.random.Generator) -> None:
    """A grey animal with long, shaggy fur."""
    _beast(canvas, rng, (128, 122, 118), (205, 200, 192), 0.085)


def paint_chair(canvas: Canvas, rng: np.random.Generator) -> None:
    """Slats with holes between them, some of them small."""
    wood, dark = (176, 112, 58), (128, 76, 36)

    def beam(x1: float, y1: float, x2: float, y2: float, width: float, colour: Colour) -> None:
        canvas.stroke(np.array([[x1, y1], [x2, y2]]), colour, width)

    beam(0.52, 0.62, 0.47, 0.95, 0.035, dark)
    beam(0.98, 0.62, 1.03, 0.95, 0.035, dark)
    beam(0.49, 0.80, 1.01, 0.80, 0.022, dark)
    beam(0.55, 0.60, 0.52, 0.06, 0.04, wood)
    beam(0.95, 0.60, 0.98, 0.06, 0.04, wood)
    for height in (0.10, 0.20, 0.42):
        beam(0.53, height, 0.97, height, 0.045, wood)
    for x in np.linspace(0.60, 0.90, 7):
        beam(float(x), 0.20, float(x), 0.60, 0.016, dark)
    canvas.polygon(np.array([[0.50, 0.56], [1.00, 0.56], [1.08, 0.68], [0.42, 0.68]]), wood)
    canvas.polygon(np.array([[0.42, 0.68], [1.08, 0.68], [1.08, 0.71], [0.42, 0.71]]), dark)
    beam(0.46, 0.70, 0.42, 0.98, 0.045, wood)
    beam(1.04, 0.70, 1.08, 0.98, 0.045, wood)
    canvas.shade(_noise(rng, 0.35))


def paint_runner(canvas: Canvas, rng: np.random.Generator) -> None:
    """A toy car in motion, its edges soft along the rows."""
    red, glass, black = (205, 38, 42), (150, 190, 205), (34, 34, 38)
    body = [[0.28, 0.62], [0.30, 0.50], [0.46, 0.46], [0.56, 0.30], [0.90, 0.29], [1.04, 0.46], [1.22, 0.52]]
    canvas.polygon(np.array([*body, [1.24, 0.68], [1.20, 0.72], [0.30, 0.72]]), red)
    canvas.polygon(np.array([[0.52, 0.46], [0.59, 0.34], [0.73, 0.34], [0.73, 0.46]]), glass)
    canvas.polygon(np.array([[0.76, 0.46], [0.76, 0.34], [0.88, 0.34], [0.96, 0.46]]), glass)
    canvas.ellipse(1.20, 0.57, 0.02, 0.03, (255, 240, 190))
    canvas.stroke(np.array([[0.30, 0.60], [1.22, 0.60]]), (240, 225, 220), 0.012)
    for x in (0.47, 1.04):
        canvas.ellipse(x, 0.72, 0.10, 0.10, black)
        canvas.ellipse(x, 0.72, 0.055, 0.055, (190, 192, 198))
    canvas.shade(_noise(rng, 0.25, 32))
    canvas.blur(0.035, 0.0)


def paint_vase(canvas: Canvas, rng: np.random.Generator) -> None:
    """A vase out of focus: an edge ten pixels wide and more."""
    outline = [(0.09, 0.10), (0.07, 0.20), (0.08, 0.28), (0.20, 0.45), (0.25, 0.60), (0.22, 0.78), (0.13, 0.93)]
    right = [(0.75 + half, y) for half, y in outline]
    left = [(0.75 - half, y) for half, y in reversed(outline)]
    canvas.polygon(np.array(right + left), (60, 105, 170))
    for y, half in ((0.45, 0.20), (0.53, 0.235), (0.70, 0.24)):
        canvas.stroke(np.array([[0.75 - half, y], [0.75, y + 0.02], [0.75 + half, y]]), (235, 225, 190), 0.02)
    canvas.ellipse(0.66, 0.52, 0.03, 0.12, (170, 200, 235), angle=10)
    canvas.shade(_noise(rng, 0.3, 32))
    canvas.blur(0.0, 0.008)


def paint_bride(canvas: Canvas, rng: np.random.Generator) -> None:
    """A figure in a veil that lets half of the background through."""
    veil = Canvas(canvas.width, canvas.height)
    veil.polygon(np.array([[0.75, 0.06], [0.95, 0.20], [1.12, 0.95], [0.38, 0.95], [0.55, 0.20]]), (238, 236, 232))
    for x in np.linspace(0.42, 1.08, 24):
        fold = np.array([[0.75 + (x - 0.75) * 0.35, 0.13], [float(x), 0.95]])
        veil.stroke(fold, (250, 249, 247) if rng.random() < 0.5 else (205, 203, 200), 0.006)
    canvas.polygon(np.array([[0.66, 0.42], [0.84, 0.42], [0.98, 0.97], [0.52, 0.97]]), (178, 60, 92))
    canvas.stroke(np.array([[0.67, 0.45], [0.58, 0.66], [0.72, 0.74]]), (214, 160, 130), 0.05)
    canvas.stroke(np.array([[0.83, 0.45], [0.92, 0.66], [0.78, 0.74]]), (214, 160, 130), 0.05)
    canvas.ellipse(0.75, 0.36, 0.045, 0.09, (205, 150, 120))
    canvas.ellipse(0.75, 0.25, 0.115, 0.135, (70, 44, 30))
    canvas.ellipse(0.75, 0.27, 0.085, 0.11, (224, 172, 142))
    for side in (-1, 1):
        canvas.ellipse(0.75 + side * 0.035, 0.25, 0.016, 0.009, (250, 250, 250))
        canvas.ellipse(0.75 + side * 0.035, 0.25, 0.008, 0.009, (50, 80, 90))
    canvas.ellipse(0.75, 0.325, 0.026, 0.008, (180, 60, 70))
    canvas.shade(_noise(rng, 0.25))
    canvas.over(veil, 0.5)


def paint_plant(canvas: Canvas, rng: np.random.Generator) -> None:
    """A pot of grass with seed heads: nothing in it is wider than a few pixels."""
    for _ in range(260):
        lean, top = rng.normal(0, 0.20), rng.uniform(0.08, 0.5)
        root = (0.75 + rng.normal(0, 0.05), 0.74)
        steps = np.linspace(0, 1, 12)
        blade = np.stack([root[0] + lean * steps**1.8, root[1] + (top - root[1]) * steps], axis=1)
        green = (rng.uniform(70, 150), rng.uniform(130, 200), rng.uniform(40, 90))
        canvas.stroke(blade, green, rng.uniform(0.001, 0.007))
        if rng.random() < 0.4:
            canvas.ellipse(float(blade[-1, 0]), float(blade[-1, 1]), 0.007, 0.022, (214, 180, 96), angle=lean * 90)
    canvas.polygon(np.array([[0.57, 0.70], [0.93, 0.70], [0.88, 0.96], [0.62, 0.96]]), (190, 92, 60))
    canvas.polygon(np.array([[0.55, 0.68], [0.95, 0.68], [0.95, 0.74], [0.55, 0.74]]), (206, 106, 72))
    canvas.shade(_noise(rng, 0.3))


def paint_wheel(canvas: Canvas, rng: np.random.Generator) -> None:
    """A bicycle's wheel: a tyre, a rim, and thin spokes with background between them."""
    turn = np.linspace(0, 2 * np.pi, 240)
    circle = np.stack([0.75 + np.cos(turn) * 0.42, 0.5 + np.sin(turn) * 0.42], axis=1)
    canvas.stroke(circle, (32, 32, 36), 0.05)
    canvas.stroke(circle * 0.93 + np.array([0.75, 0.5]) * 0.07, (196, 198, 204), 0.018)
    for spoke in range(32):
        angle = spoke * 2 * np.pi / 32
        hub = angle + (0.9 if spoke % 2 else -0.9)
        ends = np.array([[np.cos(angle) * 0.39, np.sin(angle) * 0.39], [np.cos(hub) * 0.045, np.sin(hub) * 0.045]])
        canvas.stroke(ends + np.array([0.75, 0.5]), (178, 180, 186), 0.0032)
    canvas.ellipse(0.75, 0.5, 0.055, 0.055, (150, 152, 158))
    canvas.ellipse(0.75, 0.5, 0.02, 0.02, (50, 50, 54))
    canvas.shade(_noise(rng, 0.2, 32))
