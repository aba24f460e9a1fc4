"""One contract for every object store: the real one and its twin in memory."""

import io
from collections.abc import Callable
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest

from app.core.config import Settings
from app.core.errors import ObjectNotFound, StorageUnavailable
from app.core.options import ResultFormat
from app.storage.base import ObjectStore, content_type, disposition, original_key, result_key
from app.storage.memory import MemoryStore
from app.storage.s3 import S3Store
from tests.conftest import make_settings


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    makers: dict[str, Callable[[], ObjectStore]] = {
        "memory": MemoryStore,
        "s3": lambda: request.getfixturevalue("s3_store"),
    }
    return makers[request.param]()


def test_gives_back_what_was_put(store: ObjectStore) -> None:
    key = f"originals/{uuid4()}"
    store.put(key, io.BytesIO(b"picture"), "application/octet-stream")
    assert store.get(key) == b"picture"


def test_puts_from_the_present_position_on(store: ObjectStore) -> None:
    key, body = f"originals/{uuid4()}", io.BytesIO(b"skipped, kept")
    body.seek(9)
    store.put(key, body, "application/octet-stream")
    assert store.get(key) == b"kept"


def test_overwrites(store: ObjectStore) -> None:
    key = f"processed/{uuid4()}.png"
    for content in (b"one", b"two"):
        store.put(key, io.BytesIO(content), "image/png")
    assert store.get(key) == b"two"


def test_missing_object_is_told_apart(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFound):
        store.get(f"originals/{uuid4()}")


def test_deletes_and_deletes_again(store: ObjectStore) -> None:
    key = f"originals/{uuid4()}"
    store.put(key, io.BytesIO(b"x"), "image/png")
    store.delete(key)
    store.delete(key)
    with pytest.raises(ObjectNotFound):
        store.get(key)


def test_prepares_twice_and_is_reachable(store: ObjectStore) -> None:
    store.prepare()
    store.prepare()
    store.check()


def test_presigned_url_downloads_under_its_name_and_the_plain_one_is_refused(s3_store: S3Store) -> None:
    key = f"processed/{uuid4()}.png"
    s3_store.put(key, io.BytesIO(b"\x89PNG"), "image/png")
    answer = httpx2.get(s3_store.presign(key, filename="mein Käse.png"))
    assert answer.status_code == 200
    assert answer.content == b"\x89PNG"
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"mein K_se.png\"; filename*=UTF-8''mein%20K%C3%A4se.png"
    )
    assert httpx2.get(s3_store.presign(key, filename="a.png").partition("?")[0]).status_code == 403


@pytest.mark.parametrize("format_", ResultFormat)
def test_a_result_is_handed_out_as_what_it_is(s3_store: S3Store, format_: ResultFormat) -> None:
    key = result_key(uuid4(), uuid4(), 1, format_)
    s3_store.put(key, io.BytesIO(b"result"), content_type(key))
    answer = httpx2.get(s3_store.presign(key, filename="a"))
    assert answer.headers["content-type"] == format_.content_type


def test_an_original_is_nothing_that_a_browser_would_show() -> None:
    assert content_type(original_key(uuid4(), uuid4())) == "application/octet-stream"
    assert content_type(f"originals/{uuid4()}/picture.png") == "application/octet-stream"


def test_urls_are_signed_for_the_public_endpoint(environment: dict[str, str]) -> None:
    settings = make_settings(environment, s3_public_endpoint_url="https://pictures.example.com")
    url = urlsplit(S3Store(settings).presign("processed/a.png", filename="a.png"))
    assert (url.scheme, url.netloc) == ("https", "pictures.example.com")


def test_a_store_that_is_away_says_so_soon(environment: dict[str, str]) -> None:
    store = S3Store(make_settings(environment, s3_endpoint_url="http://127.0.0.1:9"))
    for act in (store.check, lambda: store.get("a"), lambda: store.put("a", io.BytesIO(b""), "image/png")):
        with pytest.raises(StorageUnavailable):
            act()


def test_wrong_credentials_are_the_stores_fault_not_a_missing_object(settings: Settings) -> None:
    store = S3Store(settings.model_copy(update={"aws_access_key_id": "someone-else"}))
    with pytest.raises(StorageUnavailable):
        store.get("originals/x")


@pytest.mark.parametrize("name", ['a"b.png', "a\r\nSet-Cookie: x.png", "日本.png", "a;b.png", ""])
def test_no_name_breaks_out_of_the_header(name: str) -> None:
    header = disposition(name, attachment=False)
    assert header.startswith('inline; filename="')
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
