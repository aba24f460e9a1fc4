"""Pictures made to take time and memory: refused at once at the door, or worked off within a worker's limits.

`quickbg fuzz --bombs` prints the figures of all of them.
"""

from pathlib import Path

import pytest

from tests.hostile import corpus
from tests.hostile.watch import watched

# The demand is 200 ms; the machine of a test has other things to do. Without limits these take seconds and more.
DOOR_SECONDS, DOOR_MB = 1.0, 30.0
WORK_MB = 1800
# The others of their kind, that take longer, are left to the command.
QUICK = [
    *("png of 30,000 x 30,000", "png with 64 MB of texts", "png with 9,000 profiles", "png of a million parts"),
    *("png with EXIF that claims 600 GB", "jpeg c2 of 10,000 scans", "jpeg ca of 10,000 scans"),
    *(
        "jpeg of 10 MB of fill bytes",
        "jpeg of 10 MB of stuffing",
        "jpeg of two million parts",
        "jpeg with 9 MB of EXIF",
    ),
    *("jpeg with EXIF that claims 300 MB", "jpeg with a million resources", "jpeg with 9 MB of tables"),
    *("webp of 12,000 x 12,000", "webp of a million parts", "bmp of 30,000 x 30,000"),
]


@pytest.mark.parametrize("name", QUICK)
def test_a_bomb_does_not_go_off(name: str, tmp_path: Path) -> None:
    (case,) = (each for each in corpus.bombs() if each.name == name)
    file = tmp_path / "picture"
    file.write_bytes(case.make())

    ((_, verdict),) = watched("file", file)

    assert verdict.said in case.may
    assert verdict.door_seconds < DOOR_SECONDS
    assert verdict.door_mb < DOOR_MB
    assert verdict.work_mb < WORK_MB
