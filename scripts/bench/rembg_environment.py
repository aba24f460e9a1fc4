"""rembg as its users have it: installed by itself, with its own defaults. Only the weights are ours."""

import json
import os
import subprocess
from pathlib import Path

from app.embedded.stack import model_cache_dir
from app.imaging.weights import FILE_NAME
from app.shell.weights import ensure
from scripts.bench.sides import ROOT, BenchProblem

VENV = ROOT / "var" / "bench" / "venv"
MODEL = "isnet-general-use"
PACKAGES = ("rembg", "onnxruntime", "pillow", "numpy")
# They would tell its libraries how many threads to use.
_UNWANTED = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONPATH", "PYTHONHOME"}


def prepare() -> None:
    """rembg and the weights are there when this returns; the first time that takes a minute or two.

    Raises:
        BenchProblem: rembg cannot be installed.
        AppError: the weights cannot be fetched.
    """
    script, lock = ROOT / "scripts" / "bootstrap.sh", "scripts/bench/requirements.txt"
    if subprocess.run([str(script), lock, str(VENV.relative_to(ROOT))], check=False).returncode:  # noqa: S603
        raise BenchProblem("rembg could not be installed; the lines above say why.")
    ensure(model_cache_dir(), None)


def environment() -> dict[str, str]:
    """For its processes. It finds our weights under the name it looks for, and so does not fetch its own.

    Ours are cut down to the one output that is used, which rembg's own are not: it runs a little faster here.
    """
    home = VENV.parent / "weights"
    home.mkdir(parents=True, exist_ok=True)
    link = home / f"{MODEL}.onnx"
    link.unlink(missing_ok=True)
    link.symlink_to((model_cache_dir() / FILE_NAME).absolute())
    kept = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
    # Its server opens a browser as it starts.
    return kept | {"U2NET_HOME": str(home), "MODEL_CHECKSUM_DISABLED": "1", "BROWSER": "true"}


def versions() -> dict[str, str]:
    """Of rembg and of what it runs on, for the record."""
    code = f"import importlib.metadata as m, json; print(json.dumps([m.version(name) for name in {PACKAGES}]))"
    said = subprocess.run([str(python()), "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    found = dict(zip(PACKAGES, json.loads(said.stdout), strict=True))
    return {name if name == "rembg" else f"{name} of rembg": number for name, number in found.items()}


def python() -> Path:
    return VENV / "bin" / "python"
