"""The results of a batch as one archive, made while it is sent: one result in memory at a time."""

import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from zipstream import ZIP_STORED, ZipStream

from app.db.models import Task
from app.storage.base import ObjectStore

REPORT = "report.csv"
COLUMNS = ("name", "result", "status", "code", "detail")


def packed(store: ObjectStore, tasks: Sequence[Task], refused: Sequence[Mapping[str, Any]]) -> Iterator[bytes]:
    """The archive, piece by piece: each result under its picture's own name, and `report.csv` with what became of all.

    What it raises in the middle (`StorageUnavailable`, `ObjectNotFound`) leaves an archive without an end, which no
    program takes for a whole one.
    """
    archive = ZipStream(compress_type=ZIP_STORED)  # pictures are packed already
    names = result_names(tasks)
    for task in tasks:
        if task.result_key is not None:
            archive.add(_content(store, task.result_key), names[task.item or 0])
    archive.add(_report(tasks, refused, names), REPORT)
    yield from archive


def result_names(tasks: Sequence[Task]) -> dict[int, str]:
    """What each finished task's result is called, by its place in the batch; no two alike, also where case is none."""
    files, folders, names = {REPORT}, set[str](), dict[int, str]()
    for task in tasks:
        if task.result_key is None:
            continue
        place = task.item or 0
        path = PurePosixPath(task.name or f"{place + 1:04}")
        stem = str(path.with_suffix("")) if path.suffix else str(path)
        if files & _folders_of(stem):  # where another picture has the name of a folder
            stem = stem.replace("/", "_")
        name, number = f"{stem}.{task.result_format}", 1
        while _folded(name) in files | folders:
            number += 1
            name = f"{stem} ({number}).{task.result_format}"
        files.add(_folded(name))
        folders |= _folders_of(name)
        names[place] = name
    return names


def _folded(name: str) -> str:
    """What names have in common that are one to some file system."""
    return unicodedata.normalize("NFC", name).casefold()


def _folders_of(name: str) -> set[str]:
    return {_folded(str(parent)) for parent in PurePosixPath(name).parents}


def _content(store: ObjectStore, key: str) -> Iterator[bytes]:
    yield store.get(key)  # not before it is this one's turn


def _report(tasks: Sequence[Task], refused: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for task in tasks:
        result = names.get(task.item or 0, "") if task.result_key else ""
        table.writerow(map(_cell, (task.name, result, task.status, task.error_code, task.error_message)))
    for entry in refused:
        table.writerow(map(_cell, (entry["name"], "", "refused", entry["code"], entry["detail"])))
    return text.getvalue().encode("utf-8-sig")


def _cell(value: object) -> str:
    """No spreadsheet is to take a stranger's name for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
