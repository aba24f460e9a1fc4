"""`quickbg up` fetches what EXTRA_MODELS names, and starts without what cannot be had."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from app.imaging import models
from app.shell.weights import ensure_extra
from tests.conftest import make_settings
from tests.outbound.sites import ok, saying, site


def test_what_can_be_had_is_fetched_and_what_cannot_is_named(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings(environment, extra_models="u2net,silueta", model_cache_dir=tmp_path)
    with site(saying(ok(b"weights"))) as near:
        for name, content in (("u2net", b"others"), ("silueta", b"weights")):
            digest = f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"
            monkeypatch.setitem(models.MODELS, name, replace(models.MODELS[name], url=near.url, digest=digest))
        ensure_extra(settings)
    assert (tmp_path / "silueta.onnx").read_bytes() == b"weights"
    assert not (tmp_path / "u2net.onnx").exists()
    said = capsys.readouterr().err
    assert "Note: The model u2net could not be fetched (what was downloaded has another checksum)." in said
    assert "silueta could not" not in said
    assert "Traceback" not in said
