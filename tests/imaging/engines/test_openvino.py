import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from app.imaging.engines.base import Engine
from app.imaging.engines.openvino import OpenVinoEngine
from app.imaging.errors import ModelUnavailable
from app.imaging.isnet import preprocess
from app.imaging.matte import read_matte
from app.imaging.refine import level
from tests.imaging.model import Raw, decoded_photo, raw_of_photo
from tests.imaging.networks import SHAPE, network


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(network())
    return path


def answer(engine: Engine, value: float = 0.25) -> float:
    return float(engine.infer(np.full(SHAPE, value, np.float32))[0, 0])


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def test_it_runs_a_network(model: Path) -> None:
    engine: Engine = OpenVinoEngine(model, threads=1)

    raw = engine.infer(np.full(SHAPE, 0.25, np.float32))

    assert engine.name == "openvino"
    assert engine.precision in ("bf16", "fp32")
    assert raw.shape == (1024, 1024)
    assert raw.dtype == np.float32
    assert raw[0, 0] == pytest.approx(sigmoid(0.25 * 3 * 0.328125), abs=0.003)


def test_an_answer_is_not_overwritten_by_the_next(model: Path) -> None:
    engine = OpenVinoEngine(model, threads=1)

    first = engine.infer(np.full(SHAPE, -0.5, np.float32))
    engine.infer(np.full(SHAPE, 0.5, np.float32))

    assert first[0, 0] < 0.5


def test_of_several_outputs_the_one_called_output_counts(tmp_path: Path) -> None:
    for name, outputs in (("named", ("side", "output")), ("first", ("main", "side"))):
        (tmp_path / f"{name}.onnx").write_bytes(network(outputs=outputs))

    assert answer(OpenVinoEngine(tmp_path / "named.onnx", 1), 0) == pytest.approx(sigmoid(1), abs=0.003)
    assert answer(OpenVinoEngine(tmp_path / "first.onnx", 1), 0) == pytest.approx(0.5, abs=0.003)


@pytest.mark.parametrize(
    "content",
    [b"", b"no network", network(shape=(1, 3, 320, 320)), network(channels=3)],
    ids=["empty", "text", "another size", "another depth"],
)
def test_it_refuses_what_is_not_isnet(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)

    for folder in (None, tmp_path):
        with pytest.raises(ModelUnavailable) as caught:
            OpenVinoEngine(tmp_path / "model.onnx", 1, folder)
        assert "\n" not in str(caught.value)


class TestKeptAsIr:
    @pytest.fixture
    def kept(self, model: Path, tmp_path: Path) -> Path:
        folder = tmp_path / "models"
        assert answer(OpenVinoEngine(model, 1, folder)) == pytest.approx(sigmoid(0.25 * 3 * 0.328125), abs=0.003)
        return folder

    def files(self, folder: Path) -> dict[str, int]:
        """Every file and when it was written: a file that is made again is another one."""
        return {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}

    def test_it_is_made_once_and_read_from_then_on(self, model: Path, kept: Path) -> None:
        before = self.files(kept)

        assert answer(OpenVinoEngine(model, 1, kept)) == pytest.approx(sigmoid(0.25 * 3 * 0.328125), abs=0.003)

        assert self.files(kept) == before
        assert sorted(Path(name).suffix for name in before) == [".bin", ".sha256", ".xml"]
        assert all(file.stat().st_mode & 0o444 == 0o444 for file in kept.iterdir())  # a worker may be another user

    @pytest.mark.parametrize("ending", [".xml", ".bin", ".sha256"])
    @pytest.mark.parametrize("damage", ["missing", "cut off"])
    def test_a_damaged_one_is_made_again(self, model: Path, kept: Path, ending: str, damage: str) -> None:
        (file,) = kept.glob(f"*{ending}")
        size = file.stat().st_size
        if damage == "missing":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[: size // 2])

        assert answer(OpenVinoEngine(model, 1, kept)) == pytest.approx(sigmoid(0.25 * 3 * 0.328125), abs=0.003)

        assert file.stat().st_size > size // 2

    def test_one_that_this_version_cannot_read_is_made_again(self, model: Path, kept: Path) -> None:
        (xml,) = kept.glob("*.xml")
        (sums,) = kept.glob("*.sha256")
        before = hashlib.sha256(xml.read_bytes()).hexdigest()
        xml.write_text("<net version='99'/>")
        sums.write_text(sums.read_text().replace(before, hashlib.sha256(xml.read_bytes()).hexdigest()))

        assert answer(OpenVinoEngine(model, 1, kept)) == pytest.approx(sigmoid(0.25 * 3 * 0.328125), abs=0.003)

        assert "version='99'" not in xml.read_text()

    def test_sums_of_other_files_do_not_count(self, model: Path, kept: Path) -> None:
        (binary,) = kept.glob("*.bin")
        (sums,) = kept.glob("*.sha256")
        binary.write_bytes(b"")
        sums.write_text(f"{hashlib.sha256(model.read_bytes()).hexdigest()}  ../{model.name}\n" * 2)

        assert answer(OpenVinoEngine(model, 1, kept)) == pytest.approx(sigmoid(0.25 * 3 * 0.328125), abs=0.003)

    def test_another_network_of_the_same_name_is_not_mistaken_for_it(self, model: Path, kept: Path) -> None:
        model.write_bytes(network(outputs=("side", "output")))

        assert answer(OpenVinoEngine(model, 1, kept), 0) == pytest.approx(sigmoid(1), abs=0.003)

    def test_where_nothing_can_be_written_it_works_without(self, model: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        assert answer(OpenVinoEngine(model, 1, tmp_path / "file" / "models"), 0) == pytest.approx(0.5, abs=0.003)


def test_it_opens_no_socket(model: Path) -> None:
    """OpenVINO's telemetry package, where it is installed, reports on its users; it must not be."""
    program = """
import sys
def hook(event, arguments):
    if event.startswith("socket."):
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(hook)
from pathlib import Path
from app.imaging.engines.openvino import OpenVinoEngine
OpenVinoEngine(Path(sys.argv[1]), 1)
sys.exit("telemetry" if "openvino_telemetry" in sys.modules else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(model)],
        env={"PYTHONPATH": "backend"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "mean"), [("astronaut.png", 0.05), ("rocket.jpg", 0.1), ("coffee.png", 0.05), ("chelsea.png", 0.2)]
)
def test_its_matte_is_that_of_full_precision(name: str, mean: float, fast_engine: OpenVinoEngine) -> None:
    """In bf16 the cat is farther off: it fills the picture, and the network itself is not sure of it."""
    raw = fast_engine.infer(preprocess(decoded_photo(name).rgb))

    assert np.abs(_levelled(raw) - _levelled(raw_of_photo(name))).mean() <= mean


def _levelled(raw: Raw) -> npt.NDArray[np.int16]:
    return level(read_matte(raw, 0).alpha).astype(np.int16)
