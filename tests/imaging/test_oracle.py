"""The same mattes as rembg's own session on the same weights: rembg is the oracle, never a part of what runs."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from PIL import Image

from app.imaging.decode import decode
from app.imaging.limits import ImageLimits
from app.imaging.pipeline import CutoutOptions, cut_out
from tests.imaging.model import Parrot, raw_of_photo
from tests.imaging.pictures import decoded_png, photo

pytestmark = pytest.mark.xdist_group(
    "oracle"
)  # rembg's import compiles for half a minute: once, and not in each process

PHOTOS = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "camera.png"]


@pytest.fixture(scope="module")
def oracle(weights_path: Path) -> Any:
    with warnings.catch_warnings():
        # Not ours to mend: what rembg imports warns of its own coming changes.
        warnings.simplefilter("ignore")
        # Here and not above: the first import compiles for half a minute, and only this fixture needs it.
        from rembg.sessions.dis_general_use import DisSession  # noqa: PLC0415

    class LocalSession(DisSession):  # type: ignore[misc, unused-ignore]  # rembg's types change from release to release
        @classmethod
        def download_models(cls, *args: Any, **kwargs: Any) -> str:
            return str(weights_path)

    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # two sessions share the cores here
    return LocalSession("isnet-general-use", options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", PHOTOS)
def test_the_matte_is_rembgs(name: str, oracle: Any) -> None:
    image = decode(photo(name), ImageLimits())  # rembg would drop the colour profile that rocket.jpg has
    raw = raw_of_photo(name)
    as_is = CutoutOptions(refine=False, trim=False)
    ours = decoded_png(cut_out(photo(name), Parrot(raw), as_is, ImageLimits()).data)[..., 3]
    (mask,) = oracle.predict(Image.fromarray(image.rgb))
    theirs = np.asarray(mask)

    assert _mean_difference(ours, theirs) < 0.01


def _mean_difference(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())
