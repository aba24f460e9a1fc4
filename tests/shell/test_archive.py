"""What is taken for a backup, and what is not: no file, however damaged or hostile, does more than earn a sentence."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.core.options import ResultFormat
from app.shell.archive import DUMP, MANIFEST, BackupProblem, Facts, Writer, is_key, opened, parse_manifest
from app.storage.base import original_key, result_key

FACTS = Facts(
    quickbg="0.1.0",
    revision="0001",
    postgres="18.4",
    created_at=datetime(2026, 1, 2, tzinfo=UTC),
    local_user=UUID(int=7),
)
ORIGINAL = original_key(UUID(int=1), UUID(int=2))
RESULT = result_key(UUID(int=1), UUID(int=3), 1, ResultFormat.PNG)
CONTENTS = {DUMP: b"PGDMP" * 100, ORIGINAL: b"picture" * 300, RESULT: b"\x89PNG" * 150}

Rewrite = Callable[[dict[str, bytes]], None]


def written(contents: Mapping[str, bytes] = CONTENTS, missing: tuple[str, ...] = ()) -> bytes:
    file = io.BytesIO()
    writer = Writer(file)
    for name, data in contents.items():
        writer.add(name, io.BytesIO(data))
    writer.close(FACTS, list(missing))
    return file.getvalue()


WRITTEN = written()


def read(path: Path) -> dict[str, bytes]:
    """As a restore does it."""
    with opened(path) as archive:
        archive.verify(lambda done: None)
        return {name: archive.open(name).read() for name in (DUMP, *archive.keys)}


def refused(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(BackupProblem) as problem:
        read(path)
    sentence = str(problem.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive") / "backup.tar"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=2000), st.lists(st.tuples(st.uuids(), st.binary(max_size=2000)), unique_by=lambda each: each[0])
)
def test_what_is_written_is_read(path: Path, dump: bytes, objects: list[tuple[UUID, bytes]]) -> None:
    contents = {DUMP: dump} | {original_key(key, key): data for key, data in objects}
    path.write_bytes(written(contents, missing=(RESULT,)))
    assert read(path) == contents
    with opened(path) as archive:
        manifest = archive.manifest
    assert manifest.missing == (RESULT,)
    assert (manifest.objects, manifest.object_bytes) == (len(objects), sum(len(data) for _, data in objects))
    assert Facts.model_validate(manifest.model_dump(include=set(Facts.model_fields))) == FACTS


@given(position=st.integers(0, len(WRITTEN) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_or_does_no_harm(path: Path, position: int, bit: int) -> None:
    damaged = bytearray(WRITTEN)
    damaged[position] ^= 1 << bit
    path.write_bytes(damaged)
    with suppress(BackupProblem):
        assert read(path) == CONTENTS


def test_a_flipped_bit_in_an_object_is_told_with_its_name(path: Path) -> None:
    damaged = WRITTEN.replace(b"picturepicture", b"picturePicture", 1)
    assert refused(path, damaged) == f"{path} is damaged: {ORIGINAL} is not what was saved."


@given(length=st.integers(0, len(WRITTEN.rstrip(b"\0")) - 1))
@example(0)
def test_one_that_was_cut_off_is_refused(path: Path, length: int) -> None:
    refused(path, WRITTEN[:length])


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x1f\x8b" + bytes(600), bytes(20_000), b"a letter" * 1000])
def test_what_is_no_backup_is_refused(path: Path, data: bytes) -> None:
    assert "is no QuickBG backup, or its end is missing" in refused(path, data)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BackupProblem, match=r"nope.tar cannot be read: No such file or directory\.$"):
        read(tmp_path / "nope.tar")
    with pytest.raises(BackupProblem, match=r"cannot be read: Is a directory\.$"):
        read(tmp_path)


def rewritten(change: Rewrite) -> bytes:
    """The archive once more, with other members: those that tarfile would write, in their order."""
    with tarfile.open(fileobj=io.BytesIO(WRITTEN)) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    change(members)
    return packed([(name, data, tarfile.REGTYPE) for name, data in members.items()])


def packed(members: list[tuple[str, bytes, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data, kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, "/etc/passwd"
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def manifest_with(**changes: Any) -> Rewrite:
    def change(members: dict[str, bytes]) -> None:
        members[MANIFEST] = json.dumps(json.loads(members[MANIFEST]) | changes).encode()

    return change


def without(name: str) -> Rewrite:
    return lambda members: void(members.pop(name))


def void(_: object) -> None:
    """For a lambda that has nothing to say."""


def with_first(name: str, data: bytes) -> Rewrite:
    def change(members: dict[str, bytes]) -> None:
        others = dict(members)
        members.clear()
        members.update({name: data} | others)

    return change


@pytest.mark.parametrize(
    "change",
    [
        without(DUMP),
        without(ORIGINAL),
        without(MANIFEST),
        with_first("../../etc/passwd", b"x"),
        with_first("/etc/passwd", b"x"),
        with_first(original_key(uuid4(), uuid4()), b"not listed"),
        manifest_with(format=0),
        manifest_with(format="1; DROP TABLE"),
        manifest_with(objects=3),
        manifest_with(object_bytes=0),
        manifest_with(local_user="../../etc/passwd"),
        manifest_with(unknown=1),
        manifest_with(members={}),
        manifest_with(members={DUMP: {"size": -1, "sha256": "0" * 64}}),
        lambda members: members.update({MANIFEST: b"[" * 100_000}),
        lambda members: members.update({MANIFEST: b"\xff\xfe"}),
        lambda members: members.update({ORIGINAL: b"shorter"}),
    ],
)
def test_one_whose_members_do_not_fit_its_manifest_is_refused(path: Path, change: Rewrite) -> None:
    refused(path, rewritten(change))


def test_a_name_that_leads_elsewhere_is_refused_even_when_the_manifest_lists_it(path: Path) -> None:
    name = "originals/../../../../etc/cron.d/x"
    with pytest.raises(ValueError, match="belongs to no backup"):
        written({**CONTENTS, name: b"* * * * *"})
    listed = json.loads(manifest_text())
    listed["members"][name] = listed["members"].pop(ORIGINAL)

    def change(members: dict[str, bytes]) -> None:
        members[name] = members.pop(ORIGINAL)
        members.pop(MANIFEST)
        members[MANIFEST] = json.dumps(listed).encode()

    assert "damaged" in refused(path, rewritten(change))


def manifest_text() -> bytes:
    with tarfile.open(fileobj=io.BytesIO(WRITTEN)) as tar:
        return tar.extractfile(MANIFEST).read()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_what_is_no_ordinary_file_is_refused(path: Path, kind: bytes) -> None:
    members = [(name, data, tarfile.REGTYPE) for name, data in [*CONTENTS.items(), (MANIFEST, manifest_text())]]
    for number, (name, _, _) in enumerate(members):
        refused(path, packed([*members[:number], (name, b"", kind), *members[number + 1 :]]))


def test_a_member_that_comes_twice_is_refused(path: Path) -> None:
    members = [(name, data, tarfile.REGTYPE) for name, data in CONTENTS.items()]
    refused(path, packed([*members, members[1], (MANIFEST, manifest_text(), tarfile.REGTYPE)]))


def test_a_negative_size_ends_the_reading(path: Path) -> None:
    """CVE-2025-8194: older Pythons go round in circles over such a header."""
    info = tarfile.TarInfo(ORIGINAL)
    info.size = -1536
    info.type = tarfile.GNUTYPE_LONGNAME
    header = info.tobuf(tarfile.GNU_FORMAT)
    refused(path, WRITTEN[: len(WRITTEN.rstrip(b"\0")) // 512 * 512 + 512] + header + header)
    refused(path, header + WRITTEN)


def test_a_later_format_is_told(path: Path) -> None:
    said = refused(path, rewritten(manifest_with(format=2, something="new")))
    assert said == "The backup was made by a newer QuickBG: restore it with that version."


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_manifest_or_an_error_of_ours(data: bytes) -> None:
    with pytest.raises((BackupProblem, ValueError)):
        parse_manifest(data)


@given(st.sampled_from(sorted(json.loads(manifest_text()))), JSON)
def test_a_manifest_with_one_strange_value_is_still_sound_or_refused(name: str, value: Any) -> None:
    changed = json.loads(manifest_text()) | {name: value}
    try:
        manifest = parse_manifest(json.dumps(changed).encode())
    except (BackupProblem, ValueError):
        return
    assert set(manifest.members) == set(CONTENTS)
    assert (manifest.format, manifest.objects) == (1, 2)


@given(st.uuids(), st.uuids(), st.integers(1, 10), st.sampled_from(ResultFormat))
def test_our_keys_are_keys(user: UUID, other: UUID, attempt: int, format_: ResultFormat) -> None:
    assert is_key(original_key(user, other))
    assert is_key(result_key(user, other, attempt, format_))


@pytest.mark.parametrize(
    "name",
    ["", ".", DUMP, MANIFEST, f"/{ORIGINAL}", f"{ORIGINAL}\n", f"{ORIGINAL}/", f"x/{ORIGINAL}", ORIGINAL.upper()]
    + [RESULT.replace("/1.png", name) for name in ("/.png", "/-1.png", "/1.png/..", "/1.PNG", "/../1.png", "/١.png")]
    + [RESULT.replace("/1.png", name) for name in ("/1", "/1.gif", "/1.pngx", "/1.zip.png")],
)
def test_what_is_no_key(name: str) -> None:
    assert not is_key(name)
