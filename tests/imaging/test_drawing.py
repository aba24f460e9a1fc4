"""Every option by the pixels: a red rectangle on blue, whose matte is given."""

import io
import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from app.imaging.backgrounds import Blur, Gradient, Picture
from app.imaging.canvas import Canvas
from app.imaging.cutout import CutoutOptions
from app.imaging.decode import DecodedImage
from app.imaging.drawing import Composed
from app.imaging.encode import encode
from app.imaging.errors import UnknownForeground
from app.imaging.pipeline import compose
from app.imaging.trim import Box, Length
from tests.imaging.pictures import noise

Bytes = npt.NDArray[np.uint8]

RED, BLUE, GREEN = (200, 0, 0), (0, 0, 180), (0, 150, 0)
WIDTH, HEIGHT = 120, 80
SUBJECT = Box(30, 20, 40, 20)


def picture() -> tuple[DecodedImage, Bytes]:
    rgb = np.full((HEIGHT, WIDTH, 3), BLUE, np.uint8)
    rgb[SUBJECT.slices] = RED
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[SUBJECT.slices] = 255
    return DecodedImage(rgb, None), alpha


def drawn(**options: Any) -> Composed:
    return compose(*picture(), CutoutOptions(**options))


def rgba(composed: Composed) -> Bytes:
    code = cv2.COLOR_BGRA2RGBA if composed.pixels.shape[2] == 4 else cv2.COLOR_BGR2RGBA
    return np.asarray(cv2.cvtColor(composed.pixels, code), dtype=np.uint8)


def seen(composed: Composed) -> Box:
    """Where red is."""
    pixels = rgba(composed).astype(int)
    return Box(*cv2.boundingRect(((pixels[..., 0] > 100) & (pixels[..., 3] > 100)).astype(np.uint8)))


def size(composed: Composed) -> tuple[int, int]:
    return composed.pixels.shape[1], composed.pixels.shape[0]


# ---- the frame


def test_the_boxes_say_where_the_subject_is() -> None:
    for composed, box in (
        (drawn(), Box(10, 10, 40, 20)),
        (drawn(padding=0), Box(0, 0, 40, 20)),
        (drawn(trim=False), SUBJECT),
        (drawn(padding=25), Box(25, 20, 40, 20)),  # above there is no more
    ):
        assert (composed.subject_box, composed.result_box) == (SUBJECT, box)
        assert seen(composed) == box


def test_padding_by_side_and_of_the_subject() -> None:
    composed = drawn(padding=(Length(1), Length(50, percent=True), Length(3), Length(10, percent=True)))
    assert size(composed) == (4 + 40 + 20, 1 + 20 + 3)
    assert composed.result_box == seen(composed) == Box(4, 1, 40, 20)


@pytest.mark.parametrize(
    ("options", "wanted", "box"),
    [
        ({"canvas": Canvas(200, 200), "padding": 0}, (200, 200), Box(0, 50, 200, 100)),
        ({"canvas": Canvas(200, 200), "padding": 10}, (200, 200), Box(33, 67, 133, 67)),
        # The canvas has room for a padding that the picture has not.
        ({"canvas": Canvas(100, 100), "padding": 30}, (100, 100), Box(30, 40, 40, 20)),
        ({"canvas": Canvas(20, 200), "padding": 0}, (20, 200), Box(0, 95, 20, 10)),
        ({"canvas": Canvas(240, 160), "trim": False}, (240, 160), Box(60, 40, 80, 40)),
        ({"canvas": Canvas(200, 200), "scale": 0.5}, (200, 200), Box(50, 75, 100, 50)),
        ({"canvas": Canvas(200, 200), "scale": 0.5, "trim": False}, (200, 200), Box(50, 75, 100, 50)),
        ({"canvas": Canvas(200, 200), "scale": 0.5, "position": (0.0, 1.0)}, (200, 200), Box(0, 150, 100, 50)),
        # The room above and below is shared as in the original: 20 of 60.
        ({"canvas": Canvas(200, 200), "scale": 0.5, "position": None}, (200, 200), Box(38, 50, 100, 50)),
        # A shape: nothing is made larger or smaller.
        ({"canvas": Canvas(1, 1, exact=False), "padding": 0}, (40, 40), Box(0, 10, 40, 20)),
        ({"canvas": Canvas(4, 1, exact=False), "padding": 0}, (80, 20), Box(20, 0, 40, 20)),
        ({"canvas": Canvas(1, 1, exact=False), "scale": 0.5}, (80, 80), Box(20, 30, 40, 20)),
    ],
)
def test_a_canvas(options: dict[str, Any], wanted: tuple[int, int], box: Box) -> None:
    composed = drawn(**{"position": (0.5, 0.5), **options})
    assert size(composed) == wanted
    assert composed.result_box == box
    assert _near(seen(composed), box)
    assert rgba(composed)[0, 0, 3] == (255 if box[:2] == (0, 0) else 0)


@pytest.mark.parametrize(
    ("options", "box"),
    [
        ({"position": (0.5, 0.5)}, Box(40, 30, 40, 20)),
        ({"position": (0.0, 1.0)}, Box(0, 60, 40, 20)),
        ({"scale": 1.0, "position": (0.5, 0.5)}, Box(0, 10, 120, 60)),
        ({"scale": 0.5, "position": (0.5, 0.5)}, Box(30, 25, 60, 30)),
        ({"scale": 0.5}, Box(22, 17, 60, 30)),
    ],
)
@pytest.mark.parametrize("trim", [True, False])
def test_without_a_canvas_the_pictures_frame_stays(options: dict[str, Any], box: Box, trim: bool) -> None:
    composed = drawn(trim=trim, **options)
    assert size(composed) == (WIDTH, HEIGHT)
    assert composed.result_box == box
    assert _near(seen(composed), box)


def test_a_result_is_made_no_larger_than_is_asked_for() -> None:
    composed = drawn(trim=False, max_megapixels=0.0024)
    assert size(composed) == (60, 40)
    assert composed.subject_box == SUBJECT
    assert composed.result_box == seen(composed) == Box(15, 10, 20, 10)
    assert np.array_equal(drawn(trim=False, max_megapixels=0.25).pixels, drawn(trim=False).pixels)


def test_a_shape_knows_its_limits() -> None:
    """A thin subject on a tall canvas would be larger than any picture that we take."""
    alpha = np.zeros((4, 4000), np.uint8)
    alpha[1:3] = 255
    image = DecodedImage(np.zeros((4, 4000, 3), np.uint8), None)
    composed = compose(image, alpha, CutoutOptions(canvas=Canvas(1, 5, exact=False), scale=0.5))
    width, height = size(composed)
    assert height <= 8192
    assert height == pytest.approx(5 * width, abs=5)


def test_hidden_colours_do_not_come_out_when_the_size_changes() -> None:
    soft = np.asarray(cv2.GaussianBlur(picture()[1], (0, 0), 3), dtype=np.uint8)
    rgb = np.full((HEIGHT, WIDTH, 3), RED, np.uint8)
    options = CutoutOptions(refine=False, canvas=Canvas(300, 200), padding=5)

    pixels = rgba(compose(DecodedImage(rgb, None), soft, options)).astype(int)

    visible = pixels[..., 3] > 8
    assert np.abs(pixels[visible][:, :3] - RED).max() <= 8
    assert (pixels[pixels[..., 3] == 0] == 0).all()


# ---- the background


def test_what_is_enlarged_has_no_holes() -> None:
    image, alpha = picture()
    cv2.ellipse(alpha, (50, 30), (30, 18), 0, 0, 360, 255, -1)
    for options in ({"canvas": Canvas(1000, 1000)}, {"canvas": Canvas(777, 900), "scale": 0.8}):
        made = rgba(compose(image, alpha, CutoutOptions(**options)))[..., 3]
        assert made.max() == 255
        regions, _ = cv2.connectedComponents((made < 128).astype(np.uint8))
        assert regions == 2  # the subject and one outside


def test_a_whole_picture_is_centred_where_nothing_else_is_said() -> None:
    for position in (None, (0.5, 0.5)):
        made = drawn(trim=False, canvas=Canvas(240, 240), position=position)
        assert (made.result_box.top, made.result_box.left) == (80, 60)  # 240 x 160 of it, 40 free above


def test_a_colour_that_lets_light_through_leaves_the_result_transparent() -> None:
    pixels = rgba(drawn(trim=False, background=(*GREEN, 100)))
    assert (pixels[0, 0] == (*GREEN, 100)).all()
    assert (pixels[SUBJECT.slices] == (*RED, 255)).all()
    shaded = rgba(drawn(trim=False, background=(*GREEN, 100), shadow=0.5))
    below = shaded[SUBJECT.top + SUBJECT.height, SUBJECT.left + 20]
    assert below[3] > 100
    assert below[1] < GREEN[1]


def test_padding_means_nothing_in_the_pictures_own_frame() -> None:
    wide = (Length(50, percent=True),) * 4
    assert np.array_equal(drawn(trim=False, padding=wide).pixels, drawn(trim=False).pixels)


def test_a_gradient_goes_where_it_is_pointed() -> None:
    stops = ((BLUE, 0.0), (GREEN, 100.0))
    right = rgba(drawn(trim=False, background=Gradient(90, stops))).astype(int)
    up = rgba(drawn(trim=False, background=Gradient(0, stops))).astype(int)

    assert np.abs(right[0, 0, :3] - BLUE).max() <= 3
    assert np.abs(right[-1, -1, :3] - GREEN).max() <= 3
    assert np.array_equal(right[0], right[-1])
    assert np.abs(right[0, WIDTH // 2, :3] - (0, 75, 90)).max() <= 2
    assert np.abs(up[-1, 0, :3] - BLUE).max() <= 3
    assert np.abs(up[0, 0, :3] - GREEN).max() <= 3
    assert (right[30, 40, :3] == RED).all()


def test_a_slanting_gradient_reaches_the_corners_as_in_css() -> None:
    pixels = rgba(drawn(trim=False, background=Gradient(135, ((BLUE, 0.0), (GREEN, 100.0))))).astype(int)
    assert np.abs(pixels[0, 0, :3] - BLUE).max() <= 3
    assert np.abs(pixels[-1, -1, :3] - GREEN).max() <= 3


def test_a_gradient_may_have_hard_edges() -> None:
    stops = ((BLUE, 50.0), (GREEN, 50.0))
    row = rgba(drawn(trim=False, background=Gradient(90, stops)))[0, :, :3]
    assert (row[: WIDTH // 2 - 1] == BLUE).all()
    assert (row[WIDTH // 2 + 1 :] == GREEN).all()


@pytest.mark.parametrize("trim", [True, False])
def test_the_original_blurred_lies_where_it_was(trim: bool) -> None:
    rgb = np.asarray(noise(WIDTH, HEIGHT)).copy()
    _, alpha = picture()
    options = CutoutOptions(refine=False, trim=trim, background=Blur(Length(3)))
    blurred = cv2.GaussianBlur(rgb, (0, 0), 3, borderType=cv2.BORDER_REPLICATE)

    pixels = rgba(compose(DecodedImage(rgb.copy(), None), alpha, options))[..., :3]

    expected = np.where(alpha[..., np.newaxis] > 0, rgb, blurred)
    expected = expected[10:50, 20:80] if trim else expected
    assert np.array_equal(pixels, expected)


def test_a_wide_blur_is_of_the_longer_side() -> None:
    rgb = np.full((400, 800, 3), GREEN, np.uint8)
    rgb[:, 400:] = BLUE
    alpha = np.zeros((400, 800), np.uint8)
    alpha[0, 0] = 255
    options = CutoutOptions(trim=False, background=Blur(Length(5, percent=True)))

    row = compose(DecodedImage(rgb, None), alpha, options).pixels[200, :, 1].astype(float) / GREEN[1]

    x = np.arange(800) + 0.5 - 400
    exact = 0.5 * (1 - np.vectorize(math.erf)(x / (40 * 2**0.5)))
    assert np.abs(row - exact).max() < 0.04


def test_a_picture_covers_the_frame_from_its_middle() -> None:
    behind = np.zeros((50, 300, 3), np.uint8)
    behind[:, 112:187] = (0, 150, 0)  # as much of it as has the frame's shape: 75 of 300
    pixels = rgba(drawn(trim=False, background=Picture(behind)))
    assert (pixels[[0, 0, -1, -1], [2, -3, 2, -3], :3] == GREEN).all()
    assert (pixels[30, 40, :3] == RED).all()


def test_a_picture_of_the_frames_size_is_laid_as_it_is() -> None:
    behind = np.asarray(noise(WIDTH, HEIGHT))
    pixels = drawn(trim=False, background=Picture(behind)).pixels
    _, alpha = picture()
    assert np.array_equal(pixels[alpha == 0], behind[alpha == 0])


# ---- the shadow


def test_a_shadow_lies_below_and_gets_room() -> None:
    plain, composed = drawn(padding=2), drawn(padding=2, shadow=0.5)
    pixels, box = rgba(composed).astype(int), composed.result_box

    assert seen(composed) == box
    assert size(composed) > size(plain)
    assert (pixels[box.slices] == (*RED, 255)).all()
    below, above = pixels[box.top + box.height, box.left + 20], pixels[box.top - 1, box.left + 20]
    assert (below[:3] == 0).all()
    assert 127 >= below[3] > above[3] > 0
    assert pixels[-1, :, 3].max() <= 3  # it is not cut off
    assert (drawn(shadow=0).pixels == drawn().pixels).all()


def test_a_shadow_darkens_what_is_behind() -> None:
    white = rgba(drawn(shadow=0.5, background=(255, 255, 255))).astype(int)
    clear = drawn(shadow=0.5)
    box = clear.result_box
    row, column = box.top + box.height, box.left + 20
    share = rgba(clear)[row, column, 3] / 255
    assert np.abs(white[row, column, :3] - 255 * (1 - share)).max() <= 1
    assert (white[0, 0, :3] == 255).all()


def test_a_shadow_grows_with_its_opacity_and_its_subject() -> None:
    weak, strong = drawn(trim=False, shadow=0.2), drawn(trim=False, shadow=0.9)
    assert strong.pixels[..., 3].sum(dtype=np.int64) > weak.pixels[..., 3].sum(dtype=np.int64)
    small = drawn(canvas=Canvas(200, 200), scale=0.4, position=(0.5, 0.5), shadow=0.5)
    large = drawn(canvas=Canvas(400, 400), scale=0.4, position=(0.5, 0.5), shadow=0.5)
    half = cv2.resize(large.pixels[..., 3], (200, 200), interpolation=cv2.INTER_AREA)
    assert np.abs(half.astype(int) - small.pixels[..., 3]).mean() < 0.5


def test_a_soft_subject_before_its_shadow_keeps_its_colour_in_the_mixture() -> None:
    image, alpha = picture()
    before = CutoutOptions(refine=False, trim=False)
    half = np.asarray(alpha // 2, dtype=np.uint8)
    pixels = compose(image, half, replace(before, shadow=1.0)).pixels.astype(float)
    own = half[30, 50] / 255
    b, g, r, a = pixels[30, 50]
    assert a / 255 == pytest.approx(own + own * (1 - own), abs=0.02)
    assert r * a / 255 == pytest.approx(RED[0] * own, abs=2)
    assert (b, g) == (0, 0)


# ---- what else can be made


@pytest.mark.parametrize("format_", ["png", "webp", "jpg"])
def test_a_mask_is_the_matte_in_grey(format_: str) -> None:
    image, alpha = picture()
    composed = compose(image, alpha, CutoutOptions(operation="mask", trim=False))
    assert np.array_equal(composed.pixels, alpha)
    with Image.open(io.BytesIO(encode(composed.pixels, format_))) as file:
        assert np.abs(np.asarray(file.convert("L")).astype(int) - alpha).mean() < (0 if format_ == "png" else 2) + 0.01


def test_a_mask_goes_where_the_subject_would() -> None:
    options: dict[str, Any] = {"canvas": Canvas(100, 60), "scale": 0.5, "position": (1.0, 0.0)}
    mask, cutout = drawn(operation="mask", **options), drawn(**options)
    assert mask.result_box == cutout.result_box
    assert np.abs(mask.pixels.astype(int) - cutout.pixels[..., 3]).max() <= 1


def test_the_files_own_transparency_counts_in_the_mask() -> None:
    image, alpha = picture()
    own = np.zeros_like(alpha)
    with pytest.raises(UnknownForeground):
        compose(DecodedImage(image.rgb, own), alpha, CutoutOptions(operation="mask"))
    own[:30] = 128
    mask = compose(DecodedImage(image.rgb, own), alpha, CutoutOptions(operation="mask", trim=False))
    assert mask.subject_box == Box(30, 20, 40, 10)
    assert mask.pixels.max() == 128


def test_all_at_once() -> None:
    """A picture for a shop: white, square, 80 % full, with a shadow, and no larger than asked for."""
    composed = drawn(
        background=(255, 255, 255),
        canvas=Canvas(400, 400),
        scale=0.8,
        position=(0.5, 0.5),
        shadow=0.4,
        max_megapixels=0.04,
    )
    assert size(composed) == (200, 200)
    assert composed.result_box == Box(20, 60, 160, 80)
    pixels = rgba(composed)
    assert (pixels[0] == 255).all()
    assert (pixels[100, 100, :3] == RED).all()
    assert 0 < pixels[142, 100, 0] == pixels[142, 100, 1] < 250


def _near(one: Box, other: Box) -> bool:
    """Enlarged, the edges are soft."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 2
