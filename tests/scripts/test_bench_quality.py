"""The quality bench: its pictures and its figures. rembg is not needed here, nor a network."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from rich.console import Console

from app.imaging.engines.base import Engine
from scripts.bench import quality
from scripts.bench.pictures import SUBJECTS, Sample, draw, load_folder, photograph
from tests.imaging.model import Parrot

Bytes = npt.NDArray[np.uint8]


def save(folder: Path, name: str, pixels: Bytes) -> None:
    Image.fromarray(pixels).save(folder / f"{name}.png")


def truth(sample: Sample, raw: npt.NDArray[np.float32]) -> Bytes:
    return np.dstack([sample.foreground, sample.alpha])


@pytest.fixture
def wheel() -> Sample:
    return draw("wheel", 0.1)


@pytest.fixture
def engine() -> Engine:
    return Parrot(np.full((1024, 1024), 0.5, np.float32))


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_drawn_picture_is_its_subject_over_something(name: str) -> None:
    sample = draw(name, 0.1)
    height, width = sample.alpha.shape
    opaque, soft = sample.alpha == 255, (sample.alpha > 0) & (sample.alpha < 255)

    assert (width, height) == (387, 258)
    assert 0.1 < sample.alpha.mean() / 255 < 0.5
    assert soft.mean() > 0.01
    assert np.array_equal(sample.rgb[opaque], sample.foreground[opaque])
    assert (sample.rgb[soft] != sample.foreground[soft]).any(axis=1).mean() > 0.5


def test_a_drawn_picture_is_the_same_every_time(wheel: Sample) -> None:
    again = draw("wheel", 0.1)

    assert np.array_equal(again.rgb, wheel.rgb)
    assert np.array_equal(again.alpha, wheel.alpha)


def test_a_drawn_picture_is_the_same_at_every_size() -> None:
    small = draw("vase", 0.1).alpha
    large = Image.fromarray(draw("vase", 0.9).alpha).resize((387, 258), Image.Resampling.BOX)

    assert np.abs(np.asarray(large).astype(int) - small).mean() < 2


def test_a_part_of_a_photograph_fills_the_frame() -> None:
    part = photograph("coffee.png", 300, 100, part=(0.5, 0.5, 1, 1), blur=5)

    assert part.shape == (100, 300, 3)
    assert (
        np.abs(np.diff(part.astype(int), axis=0)).max()
        < np.abs(np.diff(photograph("coffee.png", 300, 100), axis=0)).max()
    )


def test_a_folder_of_ones_own(tmp_path: Path, wheel: Sample) -> None:
    save(tmp_path, "wheel", wheel.rgb)
    save(tmp_path, "wheel-alpha", wheel.alpha)
    (sample,) = load_folder(tmp_path)
    assert np.array_equal(sample.foreground, wheel.rgb)  # stands in for it

    save(tmp_path, "wheel-foreground", wheel.foreground)
    (sample,) = load_folder(tmp_path)

    assert sample.name == "wheel"
    assert np.array_equal(sample.rgb, wheel.rgb)
    assert np.array_equal(sample.alpha, wheel.alpha)
    assert np.array_equal(sample.foreground, wheel.foreground)


@pytest.mark.parametrize(
    ("names", "problem"),
    [([], "no pair"), (["a-alpha"], "no a.png"), (["a-alpha", "a"], "differ in size")],
)
def test_a_folder_that_will_not_do(tmp_path: Path, names: list[str], problem: str) -> None:
    for index, name in enumerate(names):
        save(tmp_path, name, np.zeros((9 + index, 9, 3), np.uint8))

    with pytest.raises(ValueError, match=problem):
        list(load_folder(tmp_path))


def test_the_truth_has_no_error_and_half_of_it_has(wheel: Sample, engine: Engine) -> None:
    def half(sample: Sample, raw: npt.NDArray[np.float32]) -> Bytes:
        return np.dstack([sample.foreground, sample.alpha // 2])

    right, wrong = quality.measure("here", wheel, engine, {quality.BASE: half, "truth": truth})[::-1]

    assert right.alpha == right.mean == 0
    assert wrong.alpha == pytest.approx(wheel.alpha.mean() / 2, abs=0.5)
    assert wrong.over["white"] > wrong.over["photo"] > 0

    console = Console(record=True, width=120)
    console.print(quality.as_table("here", [wrong, right]))
    assert "0.00" in console.export_text()


def test_our_ways_cut_out(wheel: Sample) -> None:
    matte = np.asarray(Image.fromarray(wheel.alpha).resize((1024, 1024)), np.float32) / np.float32(255)

    scores = quality.measure("here", wheel, Parrot(np.asarray(matte, np.float32)), quality.our_ways())

    errors = {score.variant: score.mean for score in scores}
    assert len(errors) == 3
    assert errors[quality.BALANCED] < errors["QuickBG, not refined"]
    assert max(errors.values()) < 5
