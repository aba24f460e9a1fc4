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


def test_measures_and_reads_no_more_than_it_may(store: ObjectStore) -> None:
    key = f"imports/{uuid4()}"
    store.put(key, io.BytesIO(bytes(range(256)) * 2000), "image/png")
    assert store.size(key) == 512_000
    for most, length in ((1_000_000, 512_000), (512_000, 512_000), (300_000, 300_000), (3, 3), (0, 0)):
        into = io.BytesIO()
        store.read(key, into, max_bytes=most)
        assert into.getvalue() == (bytes(range(256)) * 2000)[:length]


def test_what_is_missing_is_neither_measured_nor_read(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFound):
        store.size(f"imports/{uuid4()}")
    with pytest.raises(ObjectNotFound):
        store.read(f"imports/{uuid4()}", io.BytesIO(), max_bytes=10)


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


def test_a_signed_put_holds_for_its_type_its_size_and_its_key_alone(s3_store: S3Store) -> None:
    key = f"imports/{uuid4()}/{uuid4()}"
    signed = s3_store.presign_put(key, content_type="image/png", size_bytes=5)
    assert signed.headers == {"Content-Type": "image/png", "Content-Length": "5"}
    plain = {"Content-Type": "image/png"}
    for url, body, headers in (
        (signed.url, b"1234", plain),
        (signed.url, b"123456", plain),
        (signed.url, iter([b"12345"]), plain),  # chunked, of no declared length
        (signed.url, b"12345", {"Content-Type": "text/html"}),
        (signed.url, b"12345", {}),
        (signed.url, b"12345", plain | {"x-amz-acl": "public-read"}),
        (signed.url.replace(key, f"{key}x"), b"12345", plain),
        (signed.url.partition("?")[0], b"12345", plain),
    ):
        assert httpx2.put(url, content=body, headers=headers).status_code == 403
    with pytest.raises(ObjectNotFound):
        s3_store.size(key)
    assert httpx2.get(signed.url).status_code == 403
    assert httpx2.put(signed.url, content=b"12345", headers=signed.headers).status_code == 200
    assert s3_store.get(key) == b"12345"


def test_a_put_is_signed_for_the_public_endpoint_too(environment: dict[str, str]) -> None:
    settings = make_settings(environment, s3_public_endpoint_url="https://pictures.example.com/s3")
    signed = S3Store(settings).presign_put("imports/a", content_type="image/png", size_bytes=5)
    url = urlsplit(signed.url)
    assert (url.scheme, url.netloc, url.path) == ("https", "pictures.example.com", "/s3/quickbg-uploads/imports/a")
    assert "X-Amz-Expires=900" in url.query
    assert "X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost" in url.query


def test_a_store_that_is_away_says_so_soon(environment: dict[str, str]) -> None:
    store = S3Store(make_settings(environment, s3_endpoint_url="http://127.0.0.1:9"))
    for act in (
        store.check,
        lambda: store.get("a"),
        lambda: store.size("a"),
        lambda: store.read("a", io.BytesIO(), max_bytes=1),
        lambda: store.put("a", io.BytesIO(b""), "image/png"),
    ):
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
