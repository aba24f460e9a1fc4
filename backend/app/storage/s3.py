"""The S3 object store: the only place that knows boto3."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from app.core.config import Settings
from app.core.errors import ObjectNotFound, StorageUnavailable
from app.storage.base import PUT_SECONDS, Bucket, SignedPut, StoredObject, content_type, disposition

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

CHUNK = 1 << 18  # bytes
MISSING = {"NoSuchKey", "404", "NotFound"}
PROBE = "quickbg-probe"  # a key that is never written

# What an operator can do something about, told apart in `/health`.
REASONS = {
    "RequestTimeTooSkewed": "clock_skew",
    "NoSuchBucket": "no_bucket",
    "403": "access_denied",
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled"), "access_denied"),
    **dict.fromkeys(("InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthFailure"), "credentials"),
    **dict.fromkeys(("ExpiredToken", "InvalidToken", "TokenRefreshRequired"), "credentials"),
}

REFUSALS = {
    "AccessDenied": "There is no bucket {bucket}, and these credentials may not make it.",
    "BucketAlreadyExists": "The bucket {bucket} belongs to somebody else.",
}


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = _code(error)
        if code in MISSING:
            raise ObjectNotFound("The object is not there.") from error
        raise StorageUnavailable("The object store refused the request.", reason=REASONS.get(code)) from error
    except NoCredentialsError as error:
        raise StorageUnavailable("There are no credentials for the object store.", reason="credentials") from error
    except BotoCoreError as error:
        raise StorageUnavailable("The object store cannot be reached.") from error


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


class S3Store:
    """An `ObjectStore` on any S3: AWS, SeaweedFS, Garage, Ceph, R2.

    boto3 clients are safe to share between threads, not between processes: make one store for each process.
    """

    def __init__(self, settings: Settings) -> None:
        self._bucket = settings.s3_bucket_name
        self._region = settings.aws_region
        self._ttl = settings.presigned_url_ttl_seconds
        session = _session(settings)
        self._client = _client(session, settings, settings.s3_endpoint_url)
        # The host is part of what is signed: URLs for clients are signed for the address that clients use.
        public, self._prefix = _split(settings.s3_public_endpoint_url or settings.s3_endpoint_url)
        self._signer = _client(session, settings, public)
        self._probe = _client(
            session, settings, settings.s3_endpoint_url, connect_timeout=1, read_timeout=1, attempts=1
        )

    def put(self, key: str, body: BinaryIO, content_type: str) -> None:
        with _faults():
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)

    def get(self, key: str) -> bytes:
        with _faults():
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()

    def size(self, key: str) -> int:
        with _faults():
            return self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"]

    def read(self, key: str, into: BinaryIO, *, max_bytes: int) -> None:
        with _faults(), closing(self._client.get_object(Bucket=self._bucket, Key=key)["Body"]) as body:
            while max_bytes > 0 and (chunk := body.read(min(CHUNK, max_bytes))):
                max_bytes -= into.write(chunk)

    def delete(self, key: str) -> None:
        with _faults():
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        with _faults():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield StoredObject(entry["Key"], entry["Size"], entry["LastModified"])

    def presign(self, key: str, *, filename: str, attachment: bool = True, at_least: int = 0) -> str:
        with _faults():
            url = self._signer.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self._bucket,
                    "Key": key,
                    "ResponseContentType": content_type(key),
                    "ResponseContentDisposition": disposition(filename, attachment=attachment),
                },
                ExpiresIn=max(self._ttl, at_least),
            )
        return self._published(url)

    def presign_put(self, key: str, *, content_type: str, size_bytes: int) -> SignedPut:
        expires_at = datetime.now(UTC) + timedelta(seconds=PUT_SECONDS)
        with _faults():
            url = self._signer.generate_presigned_url(
                "put_object",
                # Signed as headers: a body of another type or size does not match the signature.
                Params={"Bucket": self._bucket, "Key": key, "ContentType": content_type, "ContentLength": size_bytes},
                ExpiresIn=PUT_SECONDS,
            )
        headers = {"Content-Type": content_type, "Content-Length": str(size_bytes)}
        return SignedPut(key, self._published(url), headers, expires_at)

    def _published(self, url: str) -> str:
        parts = urlsplit(url)
        return parts._replace(path=self._prefix + parts.path).geturl()

    def prepare(self) -> Bucket:
        found = self._look(self._client)
        if found is not Bucket.MISSING:
            return found
        # AWS wants the region named, except its first one, which it refuses to see named.
        place: Any = {"CreateBucketConfiguration": {"LocationConstraint": self._region}}
        try:
            with _faults():
                self._client.create_bucket(Bucket=self._bucket, **({} if self._region == "us-east-1" else place))
        except StorageUnavailable as fault:
            cause = fault.__cause__
            code = _code(cause) if isinstance(cause, ClientError) else None
            if code == "BucketAlreadyOwnedByYou":  # somebody made it at the same moment
                return Bucket.THERE
            if code not in REFUSALS:
                raise
            raise StorageUnavailable(REFUSALS[code].format(bucket=self._bucket), reason="no_bucket") from fault
        return Bucket.MADE

    def check(self) -> None:
        if self._look(self._probe) is Bucket.MISSING:
            raise StorageUnavailable(f"There is no bucket {self._bucket}.", reason="no_bucket")

    def _look(self, client: "S3Client") -> Bucket:
        try:
            with _faults():
                client.head_bucket(Bucket=self._bucket)
        except ObjectNotFound:
            return Bucket.MISSING
        except StorageUnavailable as fault:
            if fault.reason != "access_denied":
                raise
            return self._look_behind(client)
        return Bucket.THERE

    def _look_behind(self, client: "S3Client") -> Bucket:
        """Keys that may only read and write objects may not look at the bucket itself, and a refused HEAD does not
        say why. A refused GET does: denied to good keys, wrong keys, or a wrong clock."""
        try:
            with _faults():
                client.get_object(Bucket=self._bucket, Key=PROBE)
        except ObjectNotFound:
            return Bucket.THERE
        except StorageUnavailable as fault:
            if fault.reason == "no_bucket":
                return Bucket.MISSING
            # Without the right to list, AWS says "denied" of every object that is not there.
            if fault.reason != "access_denied":
                raise
            return Bucket.HIDDEN
        return Bucket.THERE


def _split(endpoint: str | None) -> tuple[str | None, str]:
    """An endpoint without its path, and the path.

    A path in front of the bucket belongs to a proxy, which takes it away: S3 never sees it, so it is not signed.
    """
    if endpoint is None:
        return None, ""
    parts = urlsplit(endpoint)
    return parts._replace(path="", query="", fragment="").geturl(), parts.path.rstrip("/")


def _session(settings: Settings) -> boto3.Session:
    """With our keys; without any, boto looks where it always does: profile, web identity, the machine's role."""
    if settings.aws_access_key_id is None or settings.aws_secret_access_key is None:
        return boto3.Session()
    token = settings.aws_session_token
    return boto3.Session(
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=settings.aws_secret_access_key.get_secret_value(),
        aws_session_token=token.get_secret_value() if token else None,
    )


def _client(
    session: boto3.Session,
    settings: Settings,
    endpoint: str | None,
    *,
    connect_timeout: float = 2,
    read_timeout: float = 5,
    attempts: int = 2,
) -> "S3Client":
    return session.client(
        "s3",
        endpoint_url=endpoint,
        region_name=settings.aws_region,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if settings.s3_force_path_style else "virtual"},
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=40,
            tcp_keepalive=True,
            # Newer boto adds checksums that many S3 servers do not know.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
