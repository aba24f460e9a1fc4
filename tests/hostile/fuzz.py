"""The endless form: mutations of a seed until time is up, and every one that breaks something kept as a file."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile import mutate
from tests.hostile.judge import Verdict
from tests.hostile.watch import PATIENCE, watched

REFUSALS = ("done", "refused ", "failed ")


@dataclass
class Found:
    """`ends`: how often each verdict was given. `files`: the pictures that broke something."""

    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    files: list[Path] = field(default_factory=list)

    def report(self) -> str:
        """Some lines for a person."""
        count = self.ends.total()
        lines = [f"{count:,} pictures in {self.seconds:.0f} s, {count / self.seconds:.0f} a second"]
        lines += [f"{number:9,}  {said}" for said, number in self.ends.most_common()]
        lines.append(f"{len(self.files)} broke something" + "".join(f"\n  {file}" for file in self.files))
        return "\n".join(lines)


def fuzz(
    seed: int,
    seconds: float,
    folder: Path,
    say: Callable[[str], None],
    *,
    most: int | None = None,
    patience: float = PATIENCE,
) -> Found:
    """Look at a seed's pictures for so long, or at so many. Those that break something are kept in the folder."""
    found, begun = Found(), time.monotonic()
    for number, verdict in watched("fuzz", seed, patience=patience):
        broken = not is_orderly(verdict)
        found.ends[verdict.said.partition(":")[0]] += 1
        found.seconds = time.monotonic() - begun
        if broken:
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"fuzz-{seed}-{number}.bin"
            file.write_bytes(mutate.picture(seed, number))
            found.files.append(file)
            say(f"{file}: {verdict.said}")
        if found.seconds > seconds or number + 1 == most:
            break
    return found


def is_orderly(verdict: Verdict) -> bool:
    """Whether the picture was accepted or refused in good order."""
    return verdict.said.startswith(REFUSALS)
