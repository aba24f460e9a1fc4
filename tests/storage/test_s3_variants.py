"""The ways in which people keep their S3: regions, addresses, keys of few rights, clocks that are wrong."""

import io
import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import botocore.auth
import httpx2
import pytest

from app.core.config import Settings
from app.core.errors import StorageUnavailable
from app.embedded import seaweedfs
from app.embedded.layout import Layout, write_private
from app.embedded.state import State, load_or_create
from app.storage.base import Bucket
from app.storage.s3 import S3Store
from tests.conftest import make_settings
from tests.embedded_services import wait_for

LIMITED = {"aws_access_key_id": "limited", "aws_secret_access_key": "limited-secret"}
LOOKING = {"aws_access_key_id": "looking", "aws_secret_access_key": "looking-secret"}
NO_RIGHTS = {"aws_access_key_id": "nothing", "aws_secret_access_key": "nothing-secret"}


@dataclass
class Door:
    """An S3 server that knows buckets as host names, and keys of few rights."""

    settings: Settings
    state: State

    def store(self, **changes: Any) -> S3Store:
        return S3Store(Settings.model_validate(self.settings.model_dump() | changes))


@pytest.fixture(scope="module")
def door(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    layout = Layout.at(tmp_path_factory.mktemp("door"))
    layout.make()
    state = load_or_create(layout)
    service = seaweedfs.service(layout, state)
    service.prepare()
    _add_identities(layout.s3 / "s3.json", f"{seaweedfs.BUCKET}-named")
    settings = make_settings(
        environment,
        s3_endpoint_url=seaweedfs.url(state),
        aws_access_key_id=state.s3_access_key,
        aws_secret_access_key=state.s3_secret_key,
        s3_bucket_name=f"{seaweedfs.BUCKET}-named",
    )
    with (layout.logs / "seaweedfs.log").open("ab") as log:
        process = subprocess.Popen(
            [*service.argv, "-s3.domainName=localhost"], cwd=service.cwd, env=service.env, stdout=log, stderr=log
        )
    try:
        wait_for(service.ready, "S3 is ready")
        S3Store(settings).prepare()
        yield Door(settings, state)
    finally:
        process.terminate()
        process.wait(30)
        service.cleanup()


def _add_identities(config: Path, bucket: str) -> None:
    known = json.loads(config.read_text())
    rights = (
        (LIMITED, [f"Read:{bucket}", f"Write:{bucket}"]),
        (LOOKING, ["Read", "List"]),
        (NO_RIGHTS, ["Read:another"]),
    )
    for keys, actions in rights:
        name, secret = keys.values()
        credentials = [{"accessKey": name, "secretKey": secret}]
        known["identities"].append({"name": name, "credentials": credentials, "actions": actions})
    write_private(config, json.dumps(known))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name under localhost is this machine, as most resolvers but not all have it."""
    real = socket.getaddrinfo

    def resolve(host: Any, *others: Any, **more: Any) -> Any:
        return real("127.0.0.1" if str(host).endswith(".localhost") else host, *others, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def signed(store: S3Store) -> tuple[str, str]:
    """The address of a presigned URL, and the region that it is signed for."""
    url = urlsplit(store.presign("processed/a.png", filename="a.png"))
    (credential,) = parse_qs(url.query)["X-Amz-Credential"]
    return f"{url.scheme}://{url.netloc}{url.path}", credential.split("/")[2]


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
@pytest.mark.parametrize(
    ("endpoint", "public", "path_style", "expected"),
    [
        (None, None, True, "https://s3{region}.amazonaws.com/quickbg-uploads/processed/a.png"),
        (None, None, False, "https://quickbg-uploads.s3{region}.amazonaws.com/processed/a.png"),
        ("http://s3:8333", None, True, "http://s3:8333/quickbg-uploads/processed/a.png"),
        ("http://s3:8333", None, False, "http://quickbg-uploads.s3:8333/processed/a.png"),
        ("http://s3:8333", "https://p.example.com", True, "https://p.example.com/quickbg-uploads/processed/a.png"),
        ("http://s3:8333", "https://p.example.com", False, "https://quickbg-uploads.p.example.com/processed/a.png"),
        ("http://s3:8333", "https://p.io:8443/s3/", True, "https://p.io:8443/s3/quickbg-uploads/processed/a.png"),
        ("http://s3:8333", "https://p.io:8443/s3", False, "https://quickbg-uploads.p.io:8443/s3/processed/a.png"),
    ],
)
def test_addresses_and_regions(
    environment: dict[str, str], region: str, endpoint: str | None, public: str | None, path_style: bool, expected: str
) -> None:
    settings = make_settings(
        environment,
        aws_region=region,
        s3_endpoint_url=endpoint,
        s3_public_endpoint_url=public,
        s3_force_path_style=path_style,
    )
    # AWS keeps its first region at the address without a name.
    host = "" if region == "us-east-1" else f".{region}"
    assert signed(S3Store(settings)) == (expected.format(region=host), region)


def test_buckets_as_host_names(door: Door, names: None) -> None:
    endpoint = f"http://localhost:{door.state.ports['s3']}"
    store = door.store(s3_endpoint_url=endpoint, s3_force_path_style=False)
    key = f"processed/{uuid4()}.png"
    store.put(key, io.BytesIO(b"picture"), "image/png")
    assert store.get(key) == b"picture"
    assert door.store().get(key) == b"picture"
    url = store.presign(key, filename="a.png")
    assert urlsplit(url).netloc.startswith("quickbg-uploads-named.localhost:")
    assert httpx2.get(url).content == b"picture"
    assert store.prepare() is Bucket.THERE


def test_a_path_in_front_of_s3_belongs_to_the_proxy(door: Door) -> None:
    key = f"processed/{uuid4()}.png"
    store = door.store(s3_public_endpoint_url=f"{door.settings.s3_endpoint_url}/pictures")
    store.put(key, io.BytesIO(b"picture"), "image/png")
    url = store.presign(key, filename="a.png")
    assert (
        store.presign(key, filename="a.png").partition("?")[0]
        == f"{door.settings.s3_endpoint_url}/pictures/quickbg-uploads-named/{key}"
    )
    # What S3 sees behind a proxy that takes the path away and keeps the host.
    assert httpx2.get(url.replace("/pictures/", "/", 1)).content == b"picture"


def test_a_session_token_goes_along(environment: dict[str, str]) -> None:
    with_token = S3Store(make_settings(environment, aws_session_token="a-token"))
    assert "X-Amz-Security-Token=a-token" in with_token.presign("a", filename="a.png")
    assert "Security-Token" not in S3Store(make_settings(environment)).presign("a", filename="a.png")


def test_without_keys_the_chain_of_aws_is_asked(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, door: Door
) -> None:
    profile = tmp_path / "credentials"
    keys = {"aws_access_key_id": door.state.s3_access_key, "aws_secret_access_key": door.state.s3_secret_key}
    profile.write_text("\n".join(["[pictures]", *(f"{name} = {key}" for name, key in keys.items()), ""]))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profile))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    none = {"aws_access_key_id": None, "aws_secret_access_key": None}
    with pytest.raises(StorageUnavailable, match="no credentials") as refused:
        door.store(**none).check()
    assert refused.value.reason == "credentials"
    with pytest.raises(StorageUnavailable, match="no credentials"):
        door.store(**none).presign("a", filename="a.png")
    monkeypatch.setenv("AWS_PROFILE", "pictures")
    store = door.store(**none)
    store.check()
    store.put("originals/by-profile", io.BytesIO(b"x"), "image/png")
    assert httpx2.get(store.presign("originals/by-profile", filename="a.png")).content == b"x"


def test_keys_that_only_read_and_write_are_enough(door: Door) -> None:
    store = door.store(**LIMITED)
    store.check()
    assert store.prepare() is Bucket.THERE
    key = f"processed/{uuid4()}.png"
    store.put(key, io.BytesIO(b"picture"), "image/png")
    assert httpx2.get(store.presign(key, filename="a.png")).content == b"picture"
    store.delete(key)


def test_a_bucket_is_made_once(door: Door) -> None:
    name = f"bucket-{uuid4()}"
    with pytest.raises(StorageUnavailable, match=name) as missing:
        door.store(s3_bucket_name=name).check()
    assert missing.value.reason == "no_bucket"
    with pytest.raises(StorageUnavailable, match=f"no bucket {name}, and these credentials may not make it"):
        door.store(s3_bucket_name=name, **LOOKING).prepare()
    assert door.store(s3_bucket_name=name).prepare() is Bucket.MADE
    assert door.store(s3_bucket_name=name).prepare() is Bucket.THERE
    door.store(s3_bucket_name=name).check()


def test_what_may_not_be_looked_at_is_taken_to_be_there(door: Door) -> None:
    store = door.store(**NO_RIGHTS)
    store.check()
    assert store.prepare() is Bucket.HIDDEN
    with pytest.raises(StorageUnavailable) as refused:
        store.put("originals/x", io.BytesIO(b"x"), "image/png")
    assert refused.value.reason == "access_denied"


@pytest.mark.parametrize("change", [{"aws_access_key_id": "nobody"}, {"aws_secret_access_key": "wrong"}])
def test_wrong_keys_are_told_from_few_rights(door: Door, change: dict[str, str]) -> None:
    for act in (door.store(**change).check, door.store(**change).prepare):
        with pytest.raises(StorageUnavailable) as refused:
            act()
        assert refused.value.reason == "credentials"


def test_a_wrong_clock_is_named(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    store = door.store()
    late = datetime.now(UTC) - timedelta(hours=1)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda remove_tzinfo=True: late.replace(tzinfo=None))
    with pytest.raises(StorageUnavailable) as refused:
        store.check()
    assert refused.value.reason == "clock_skew"
