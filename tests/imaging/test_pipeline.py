import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from app.imaging.decode import decode
from app.imaging.encode import encode
from app.imaging.errors import ImageError, UnknownForeground
from app.imaging.limits import ImageLimits
from app.imaging.pipeline import Cutout, CutoutOptions, compose, cut_out, find_matte
from tests.imaging.model import Parrot, Raw
from tests.imaging.pictures import ORANGE, SKY, decoded_png, disc, encoded, exif

STAGES = ["decoding", "inferring", "refining", "encoding"]


@pytest.fixture
def raw() -> Raw:
    """A subject in the middle half of the picture, and haze everywhere else."""
    raw = np.full((1024, 1024), 0.01, np.float32)
    raw[256:768, 256:768] = 0.98
    return raw


def run(raw: Raw, data: bytes, **options: object) -> Cutout:
    return cut_out(data, Parrot(raw), CutoutOptions(**options), ImageLimits())  # type: ignore[arg-type]


def test_a_removal_from_bytes_to_bytes(raw: Raw) -> None:
    cutout = run(raw, encoded(disc(320, 240), "JPEG"))

    rgba = decoded_png(cutout.data)
    assert _near(cutout.width, 160 + 20)
    assert _near(cutout.height, 120 + 20)
    assert rgba.shape == (cutout.height, cutout.width, 4)
    assert (cutout.original_width, cutout.original_height) == (320, 240)
    assert cutout.confidence > 0.9
    assert rgba[70, 90, 3] == 255
    assert (rgba[0, 0] == 0).all()


def test_the_options_are_obeyed(raw: Raw) -> None:
    data = encoded(disc(320, 240), "PNG")

    assert run(raw, data, trim=False).width == 320
    assert _near(run(raw, data, padding=0).width, 160)
    with pytest.raises(UnknownForeground):
        run(raw, data, min_confidence=0.99)


def test_refining_takes_away_specks_and_haze(raw: Raw) -> None:
    raw[10:14, 10:14] = 0.9
    raw[900:920, 900:920] = 0.03
    data = encoded(disc(1024, 1024), "PNG")

    refined = decoded_png(run(raw, data, trim=False).data)[..., 3]
    as_is = decoded_png(run(raw, data, trim=False, refine=False).data)[..., 3]

    assert (as_is[12, 12], as_is[910, 910]) == (233, 5)
    assert (refined[12, 12], refined[910, 910]) == (0, 0)


def test_the_stages_are_told_in_order_and_timed(raw: Raw) -> None:
    told: list[str] = []

    cutout = cut_out(encoded(disc(), "PNG"), Parrot(raw), CutoutOptions(), ImageLimits(), told.append)

    assert told == STAGES
    assert list(cutout.stage_seconds) == STAGES
    assert all(seconds >= 0 for seconds in cutout.stage_seconds.values())


@pytest.mark.parametrize("last", STAGES)
def test_the_callback_may_end_it(raw: Raw, last: str) -> None:
    class Cancelled(Exception):
        pass

    told: list[str] = []

    def on_stage(stage: str) -> None:
        told.append(stage)
        if stage == last:
            raise Cancelled

    engine = Parrot(raw)
    with pytest.raises(Cancelled):
        cut_out(encoded(disc(), "PNG"), engine, CutoutOptions(), ImageLimits(), on_stage)

    assert told == STAGES[: STAGES.index(last) + 1]
    assert len(engine.blobs) == (STAGES.index(last) > 1)


def test_a_picture_lying_on_its_side_comes_out_upright(raw: Raw) -> None:
    cutout = run(raw, encoded(disc(320, 200), "JPEG", exif=exif(6)), trim=False)

    assert (cutout.width, cutout.height) == (cutout.original_width, cutout.original_height) == (200, 320)


def test_a_transparent_spot_stays_transparent(raw: Raw) -> None:
    stored = disc(320, 240).convert("RGBA")
    stored.paste((0, 0, 0, 0), (160, 0, 320, 240))

    cutout = run(raw, encoded(stored, "PNG"), padding=0)

    assert _near(cutout.width, 80)


def test_the_pictures_own_transparency_multiplies_the_matte(raw: Raw) -> None:
    """And its colours, which are those of the subject alone, stay as they are."""
    stored = Image.new("RGBA", (320, 240))
    stored.paste((30, 60, 200, 128), (110, 80, 210, 160))

    cutout = decoded_png(run(raw, encoded(stored, "PNG"), trim=False).data)

    assert (cutout[80:160, 110:210] == (30, 60, 200, 128)).all()


@pytest.mark.parametrize("refine", [True, False])
def test_a_kept_matte_is_composed_again_without_the_network(raw: Raw, refine: bool) -> None:
    data, options = encoded(disc(320, 240), "PNG"), CutoutOptions(refine=refine)
    kept = find_matte(raw, decode(data, ImageLimits()), options).alpha

    again = encode(compose(decode(data, ImageLimits()), kept, options).pixels, "png")
    laid = replace(options, background=(255, 255, 255), trim=False)
    on_white = compose(decode(data, ImageLimits()), kept, laid).pixels

    assert again == run(raw, data, refine=refine).data
    assert on_white[0, 0].tolist() == [255, 255, 255]
    assert on_white.shape == (240, 320, 3)


@pytest.mark.parametrize(("format_", "mode"), [("png", "RGBA"), ("webp", "RGBA"), ("jpg", "RGB")])
def test_it_comes_in_the_format_asked_for(raw: Raw, format_: str, mode: str) -> None:
    background = (255, 255, 255) if format_ == "jpg" else None
    cutout = run(raw, encoded(disc(320, 240), "PNG"), format=format_, background=background)

    with Image.open(io.BytesIO(cutout.data)) as image:
        assert (image.mode, image.size) == (mode, (cutout.width, cutout.height))
    assert cutout.format == format_


@pytest.mark.parametrize(
    ("options", "format_", "mode"),
    [
        ({}, "png", "RGBA"),
        ({"background": (255, 255, 255)}, "jpg", "RGB"),
        ({"background": (255, 255, 255, 200)}, "png", "RGBA"),
        ({"operation": "mask"}, "jpg", "L"),
        ({"operation": "constant"}, "jpg", "RGB"),  # cut out, and yet nothing of it is transparent
    ],
)
def test_auto_looks_at_what_was_drawn(raw: Raw, options: dict[str, object], format_: str, mode: str) -> None:
    cutout = run(raw, encoded(disc(320, 240), "PNG"), format="auto", **options)

    assert cutout.format == format_
    with Image.open(io.BytesIO(cutout.data)) as image:
        assert (image.format, image.mode) == ("JPEG" if format_ == "jpg" else "PNG", mode)


def test_the_best_quality_moves_soft_edges_and_nothing_else(raw: Raw) -> None:
    """A matte that is too wide for the disc is brought to it."""
    y, x = np.mgrid[:1024, :1024]
    distance = np.hypot(y - 512, (x - 512))
    raw = np.clip((400 - distance) / 120 + 0.5, 0.01, 0.98).astype(np.float32)
    data = encoded(disc(1024, 1024), "PNG")

    balanced = decoded_png(run(raw, data, trim=False).data)[..., 3].astype(int)
    best = decoded_png(run(raw, data, trim=False, quality="best").data)[..., 3].astype(int)

    truth = np.where(distance < 1024 // 3, 255, 0)
    assert np.abs(best - truth).mean() < np.abs(balanced - truth).mean()
    assert (best[distance < 250] == 255).all()
    assert (best[distance > 480] == 0).all()


def test_no_fringe_of_the_old_background_is_left(raw: Raw) -> None:
    """A soft orange disc before the sky: over white nothing is darker than orange and white make it, nor is it blue."""
    y, x = np.mgrid[:600, :600]
    soft = np.clip((200 - np.hypot(y - 300, x - 300)) / 12 + 0.5, 0, 1)[..., np.newaxis]
    picture = Image.fromarray(np.rint(np.array(ORANGE) * soft + np.array(SKY) * (1 - soft)).astype(np.uint8))
    small = np.asarray(Image.fromarray(np.rint(soft[..., 0] * 255).astype(np.uint8)).resize((1024, 1024)))

    cutout = decoded_png(run((small / 255 * 0.97 + 0.01).astype(np.float32), encoded(picture, "PNG")).data)

    seen = cutout[cutout[..., 3] > 25].astype(int)
    assert np.abs(seen[:, :3] - ORANGE).max() <= 30
    assert np.abs(seen[:, :3] - ORANGE).mean() <= 3


def test_a_subject_on_nothing_but_transparency_is_none(raw: Raw) -> None:
    with pytest.raises(UnknownForeground):
        run(raw, encoded(Image.new("RGBA", (100, 100)), "PNG"))


def test_a_bad_picture_never_reaches_the_engine(raw: Raw) -> None:
    engine = Parrot(raw)

    for data in (b"", b"GIF89a", encoded(disc(), "PNG")[:800]):
        with pytest.raises(ImageError):
            cut_out(data, engine, CutoutOptions(), ImageLimits())

    assert engine.blobs == []


def test_the_picture_itself_is_not_part_of_how_a_cutout_prints(raw: Raw) -> None:
    assert "PNG" not in repr(run(raw, encoded(disc(), "PNG")))  # logs must not hold pictures


def _near(found: int, wanted: int) -> bool:
    """Enlarging rings by a pixel around a hard edge."""
    return abs(found - wanted) <= 2
