"""Rembg's other models: their figures are those of its source, and so are their mattes; how their files are fetched."""

import hashlib
import importlib
import importlib.util
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest

from app.imaging import weights_sources
from app.imaging.engines.base import OTHER_ENDS
from app.imaging.engines.choice import load_other
from app.imaging.engines.onnxruntime import OnnxRuntimeEngine
from app.imaging.errors import ModelUnavailable
from app.imaging.isnet import preprocess
from app.imaging.limits import ImageLimits
from app.imaging.models import ISNET_GENERAL_USE, MODELS, ModelEntry
from app.imaging.pipeline import CutoutOptions, cut_out
from app.imaging.weights import ensure_model, verify_model, where_model_is
from app.services.networks import OtherModels
from tests.imaging.networks import network
from tests.imaging.pictures import decoded_png
from tests.outbound.sites import site
from tests.pictures import encoded, subject

# Without its package, whose import compiles for half a minute.
SESSIONS = Path(str(importlib.util.find_spec("rembg").origin)).parent / "sessions"  # type: ignore[union-attr]
SOURCES = {path.stem: path.read_text() for path in SESSIONS.glob("*.py")}
LEFT_OUT = {"u2net_cloth_seg", "sam", "withoutbg", "atlascloud", "birefnet-general-fp16"}
COLOUR = r"\(([\d., ]+)\)"
NETWORKS = {side: network(shape=(1, 3, side, side)) for side in (320, 1024)}
PICTURE = encoded(subject(200, 160), "PNG")


def session_of(name: str) -> str:
    """The source of the session of this name."""
    return next(source for source in SOURCES.values() if f'return "{name}"' in source)


def figures(source: str) -> tuple[Any, ...]:
    """Of the picture that a session makes for its network; those of its parent, if it has none of its own."""
    if "self.normalize" not in source:
        source = SOURCES["birefnet_general"]
    found = re.search(rf"normalize\(\s*img,\s*{COLOUR},\s*{COLOUR},\s*{COLOUR}", source)
    assert found is not None
    mean, std, size = (tuple(float(number) for number in group.split(",")) for group in found.groups())
    return mean, std, size


@pytest.mark.parametrize("entry", MODELS.values(), ids=str)
def test_the_figures_are_rembgs(entry: ModelEntry) -> None:
    source = session_of(entry.name)
    assert f'"{entry.url}"' in source
    assert f'"{entry.digest}"' in source
    assert figures(source) == (entry.mean, entry.std, (entry.side, entry.side))
    assert entry.logits == (entry.name.startswith("birefnet"))
    assert ("sigmoid" in source or "BiRefNetSessionGeneral" in source) == entry.logits


def test_none_of_rembgs_is_forgotten() -> None:
    names = {name for source in SOURCES.values() for name in re.findall(r'^        return "([\w-]+)"$', source, re.M)}
    names -= {name for name in names if name.endswith("_custom")}
    assert names == set(MODELS) | LEFT_OUT


def test_what_a_user_must_know_is_said_of_each() -> None:
    for entry in MODELS.values():
        assert len(entry.licences) > 1
        assert not entry.commercial  # of none is it clear


@pytest.fixture(scope="module")
def oracle() -> Iterator[str]:
    """A package of rembg's sessions alone."""
    package = ModuleType("oracle_sessions")
    package.__path__ = [str(SESSIONS)]
    sys.modules[package.__name__] = package
    yield package.__name__
    for name in [name for name in sys.modules if name.startswith(package.__name__)]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "module", "session"),
    [
        ("u2netp", "u2netp", "U2netpSession"),
        ("isnet-anime", "dis_anime", "DisSession"),
        ("birefnet-general", "birefnet_general", "BiRefNetSessionGeneral"),
        ("bria-rmbg", "bria_rmbg", "BriaRmBgSession"),
    ],
)
def test_the_matte_is_rembgs(name: str, module: str, session: str, oracle: str, tmp_path: Path) -> None:
    entry = MODELS[name]
    path = tmp_path / "network.onnx"
    path.write_bytes(NETWORKS[entry.side])
    kind = getattr(importlib.import_module(f"{oracle}.{module}"), session)
    local = type("Local", (kind,), {"download_models": classmethod(lambda *_, **__: str(path))})
    (mask,) = local(name, ort.SessionOptions(), providers=["CPUExecutionProvider"]).predict(subject(200, 160))

    engine, prepare = others(entry).find(name)
    asked = CutoutOptions(refine=False, trim=False)
    ours = decoded_png(cut_out(PICTURE, engine, asked, ImageLimits(), prepare=prepare).data)[..., 3]

    assert np.abs(ours.astype(np.int16) - np.asarray(mask)).max() <= 1
    assert len(np.unique(ours)) > 2


def others(entry: ModelEntry) -> OtherModels:
    def load(entry: ModelEntry) -> OnnxRuntimeEngine:
        return OnnxRuntimeEngine(NETWORKS[entry.side], threads=1, side=entry.side)

    return OtherModels({entry.name}, load)


def test_edges_are_refined_whatever_the_square() -> None:
    class Disc:
        name, precision = "disc", "fp32"

        def infer(self, blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            assert blob.shape == (1, 3, 320, 320)
            rows, columns = np.indices((320, 320)) - 160
            return (np.hypot(rows, columns * 200 / 160) < 80).astype(np.float32)

    engine, prepare = OtherModels({"u2netp"}, lambda entry: Disc()).find("u2netp")
    made = cut_out(PICTURE, engine, CutoutOptions(trim=False), ImageLimits(), prepare=prepare)
    alpha = decoded_png(made.data)[..., 3]
    assert (alpha.shape, alpha[80, 100], alpha[0, 0]) == ((160, 200), 255, 0)
    assert made.confidence > 0.95


def test_isnet_sees_what_it_saw() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)
    entry = ISNET_GENERAL_USE
    assert np.array_equal(preprocess(rgb), preprocess(rgb, entry.side, entry.mean, entry.std))


def test_a_file_of_another_square_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(NETWORKS[1024])
    with pytest.raises(ModelUnavailable, match=OTHER_ENDS):
        load_other("onnxruntime", path, 1, tmp_path, 320)
    assert load_other("auto", path, 1, tmp_path, 1024).name == "onnxruntime"
    assert load_other("openvino", path, 1, tmp_path, 1024).name == "onnxruntime"


class Release:
    """A place to fetch from."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []

    def entry(self, path: str = "u2netp.onnx") -> ModelEntry:
        md5 = hashlib.md5(NETWORKS[320], usedforsecurity=False).hexdigest()
        return replace(MODELS["u2netp"], url=f"{self.url}/{path}", digest=f"md5:{md5}")


@pytest.fixture
def release() -> Iterator[Release]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place.asked.append(self.path)
            body = NETWORKS[320] if self.path == "/u2netp.onnx" else b"another"
            self.send_response(404 if self.path == "/missing" else 200)
            self.send_header("Content-Length", str(len(body) + (self.path == "/short")))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    place = Release(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
    thread.start()
    yield place
    server.shutdown()
    thread.join()
    server.server_close()


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_model_is_fetched_once(release: Release, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    entry = release.entry()
    path = ensure_model(tmp_path / "models", entry, lambda *progress: told.append(progress))
    assert path.read_bytes() == NETWORKS[320]
    assert path.stat().st_mode & 0o777 == 0o644
    assert told[-1] == (
        "Fetching the model u2netp from rembg's release",
        len(NETWORKS[320]),
        len(NETWORKS[320]),
    )
    verify_model(path, entry)
    assert ensure_model(tmp_path / "models", entry) == path
    assert release.asked == ["/u2netp.onnx"]


def test_a_damaged_one_is_fetched_again(release: Release, tmp_path: Path) -> None:
    entry = release.entry()
    where_model_is(tmp_path, entry).write_bytes(b"damaged")
    with pytest.raises(ModelUnavailable, match="u2netp is damaged"):
        verify_model(where_model_is(tmp_path, entry), entry)
    assert ensure_model(tmp_path, entry).read_bytes() == NETWORKS[320]


def test_one_that_somebody_has_put_there_is_taken(tmp_path: Path) -> None:
    entry = Release("http://127.0.0.1:9").entry()
    where_model_is(tmp_path, entry).write_bytes(NETWORKS[320])
    assert ensure_model(tmp_path, entry) == where_model_is(tmp_path, entry)


@pytest.mark.parametrize("path", ["missing", "short", "other"])
def test_what_cannot_be_fetched_leaves_nothing_and_says_what_to_do(release: Release, tmp_path: Path, path: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"u2netp could not be fetched \(.+\)\. .* by hand: .*u2netp\.onnx$"):
        ensure_model(tmp_path, release.entry(path))
    assert visible(tmp_path) == []


@pytest.mark.parametrize("what", ["took too long", "larger than any model"])
def test_a_site_that_never_comes_to_an_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Byte by byte, which no time limit of a single read sees; or all at once, which fills the disk."""
    drips = what == "took too long"
    monkeypatch.setattr(weights_sources, *(("_DOWNLOAD_SECONDS", 0.3) if drips else ("_LARGEST", 100_000)))
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"

    def drip(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head)
        while True:  # until he who asked hangs up
            connection.sendall(b"." if drips else bytes(65_536))
            time.sleep(0.02 if drips else 0)

    with site(drip) as near, pytest.raises(ModelUnavailable, match=what):
        ensure_model(tmp_path, replace(MODELS["u2netp"], url=near.url))
    assert visible(tmp_path) == []


def test_what_a_killed_one_has_left_is_gone_with_the_next(release: Release, tmp_path: Path) -> None:
    for _ in range(2):
        (tmp_path / ".u2netp.onnx.part").write_bytes(b"half")
        (tmp_path / "u2netp.onnx").unlink(missing_ok=True)
        ensure_model(tmp_path, release.entry())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".u2netp.onnx.lock", "u2netp.onnx"]


def test_one_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    entry = MODELS["silueta"]
    with pytest.raises(ModelUnavailable, match="The model silueta is not there"):
        verify_model(where_model_is(tmp_path, entry), entry)
    folder = where_model_is(tmp_path, entry)
    folder.mkdir()
    with pytest.raises(ModelUnavailable, match="The model silueta cannot be read"):
        verify_model(folder, entry)
