import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.core.operations import FOLDER, operations
from app.core.options import RemovalOptions
from app.imaging import operations as package
from app.imaging.limits import ImageLimits
from app.imaging.operations import load
from app.imaging.pipeline import CutoutOptions, cut_out
from tests.imaging.model import Parrot
from tests.imaging.pictures import decoded_png, disc, encoded

NEW = '''"""The subject, upside down."""

from app.imaging.cutout import CutoutOptions
from app.imaging.decode import DecodedImage
from app.imaging.drawing import Bytes, Composed, draw

DEFAULTS = {"background": "white"}


def compose(image: DecodedImage, alpha: Bytes, options: CutoutOptions) -> Composed:
    drawn = draw(image, alpha, options)
    return Composed(drawn.pixels[::-1], drawn.subject_box, drawn.result_box)
'''
USES_IT = """
import sys
from app.core.operations import operations
from app.core.options import read_options
assert read_options({"operation": "turn-over"}).background == "#ffffff"
assert operations()["turn-over"].summary == "The subject, upside down."
assert not {"cv2", "numpy"} & set(sys.modules)
from app.imaging.operations import load
print(load("turn-over").compose.__name__)
"""


def test_each_has_a_summary_and_is_to_be_had() -> None:
    assert Path(package.__file__ or "").parent == FOLDER
    assert list(operations()) == [
        *("remove-background", "blur-background", "constant", "mask", "random", "replace-background"),
    ]
    for name, operation in operations().items():
        assert operation.summary.endswith(".")
        assert callable(load(name).compose)
        assert {*operation.defaults, *operation.needs, *operation.refuses} <= set(RemovalOptions.model_fields)


def test_a_new_one_is_one_new_file(tmp_path: Path) -> None:
    backend = FOLDER.parents[2]
    shutil.copytree(backend / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "app" / "imaging" / "operations" / "turn_over.py").write_text(NEW)
    ran = subprocess.run([sys.executable, "-c", USES_IT], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "compose\n", "")


@pytest.mark.parametrize("name", ["random", "constant"])
def test_some_need_no_network(name: str) -> None:
    told: list[str] = []
    engine = Parrot(np.zeros((1024, 1024), np.float32))
    data, other = encoded(disc(), "PNG"), encoded(disc(321, 240), "PNG")
    options = CutoutOptions(operation=name, trim=False)

    cutout = cut_out(data, engine, options, ImageLimits(), told.append)

    assert engine.blobs == []
    assert told == ["decoding", "refining", "encoding"]
    assert (cutout.confidence, cutout.found) == (1.0, None)
    assert cutout.data == cut_out(data, engine, options, ImageLimits()).data
    alpha = decoded_png(cutout.data)[..., 3]
    assert alpha.max() == 255
    same = np.array_equal(alpha, decoded_png(cut_out(other, engine, options, ImageLimits()).data)[:, :320, 3])
    assert same is (name == "constant")
    assert alpha.min() == (255 if name == "constant" else 0)
