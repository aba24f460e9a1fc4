"""What the door needs to refuse a picture: in processes of their own, since nobody can take a limit back."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.core.config import PROJECT_ROOT
from tests.hostile import corpus

CODE = """
import resource, sys
from pathlib import Path
from app.imaging.errors import ImageError
from app.imaging.limits import ImageLimits
from app.imaging.probe import probe
held = next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmData:"))
resource.setrlimit(resource.RLIMIT_DATA, ((held + 64 * 1024) * 1024,) * 2)
try:
    probe(open(sys.argv[1], "rb"), ImageLimits())
except ImageError as error:
    print(error.code)
"""


@pytest.mark.parametrize("name", ["webp of 12,000 x 12,000", "webp of 16,383 x 16,383", "png of 30,000 x 30,000"])
def test_no_memory_is_taken_for_a_picture_that_is_too_large(name: str, tmp_path: Path) -> None:
    (case,) = (each for each in corpus.bombs() if each.name == name)
    file = tmp_path / "picture"
    file.write_bytes(case.make())

    command = [sys.executable, "-c", CODE, str(file)]
    done = subprocess.run(command, cwd=PROJECT_ROOT / "backend", capture_output=True, text=True, check=True)

    assert done.stdout == "dimensions_too_large\n"
