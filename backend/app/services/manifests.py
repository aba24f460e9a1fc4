"""A list of pictures as CSV: one row each, by URL or key, with a name and options of its own."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from app.core.errors import InvalidRequest

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_FIELD: Final = 4096  # characters
SOURCES: Final = {"image_url": "image_url", "url": "image_url", "s3_key": "s3_key"}


class BadManifest(InvalidRequest):
    """The list as a whole cannot be read."""

    code = "manifest_invalid"


@dataclass(frozen=True)
class Row:
    """One picture. `source`: `image_url` or `s3_key`. `options`: what the row says besides, empty fields left out."""

    number: int  # of its line, from 1 on
    source: str
    value: str
    name: str | None
    options: dict[str, str]


def rows(file: BinaryIO) -> Iterator[Row]:
    """Every row that is not empty.

    Args:
        file: UTF-8, with a heading: `image_url` (or `url`) or `s3_key`, and if need be `name` and names of options.

    Raises:
        BadManifest: naming the line.
    """
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BadManifest(f"The CSV file is too large (max {MAX_BYTES // 1024 // 1024} MiB).")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadManifest("The CSV file is expected in UTF-8.") from error
    if "\0" in text:
        raise BadManifest("The CSV file holds characters that are none.")
    reader = csv.DictReader(io.StringIO(text, newline=""), dialect=_dialect(text), strict=True)
    try:
        heading = [name.strip().lower() for name in reader.fieldnames or ()]
        _check(heading)
        reader.fieldnames = heading
        for row in reader:
            found = _row(reader.line_num, row)
            if found is not None:
                yield found
    except csv.Error as error:
        raise BadManifest(f"The CSV file cannot be read: line {reader.line_num}: {error}.") from error


def _dialect(text: str) -> type[csv.Dialect]:
    """Commas, or what the spreadsheets of half of Europe write."""
    first = text.partition("\n")[0]
    return _Semicolons if first.count(";") > first.count(",") else csv.excel


class _Semicolons(csv.excel):
    delimiter = ";"


def _check(heading: list[str]) -> None:
    sources = [name for name in heading if name in SOURCES]
    if not sources:
        raise BadManifest("The first line of the CSV file has to name its columns, 'image_url' or 's3_key' among them.")
    if len(set(heading)) < len(heading) or "" in heading:
        raise BadManifest("Each column of the CSV file needs a name of its own.")


def _row(number: int, row: dict[str, str | None]) -> Row | None:
    if None in row:
        raise BadManifest(f"The CSV file cannot be read: line {number} has more fields than the first one.")
    fields = {name: (value or "").strip() for name, value in row.items()}
    if not any(fields.values()):
        return None
    if any(len(value) > MAX_FIELD for value in fields.values()):
        raise BadManifest(f"Line {number} of the CSV file has a field of more than {MAX_FIELD} characters.")
    named = [(SOURCES[name], fields.pop(name)) for name in list(fields) if name in SOURCES]
    given = [(source, value) for source, value in named if value]
    if len(given) != 1:
        raise BadManifest(f"Line {number} of the CSV file has to name exactly one picture.")
    ((source, value),) = given
    name = fields.pop("name", "") or None
    return Row(number, source, value, name, {option: text for option, text in fields.items() if text})
