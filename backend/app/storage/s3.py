"""The S3 object store: the only place that knows boto3."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from app.core.config import Settings
from app.core.errors import ObjectNotFound, StorageUnavailable
from app.storage.base import disposition

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

MISSING = {"NoSuchKey", "404", "NotFound"}


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in MISSING:
            raise ObjectNotFound("The object is not there.") from error
        raise StorageUnavailable("The object store refused the request.") from error
    except BotoCoreError as error:
        raise StorageUnavailable("The object store cannot be reached.") from error


class S3Store:
    """An `ObjectStore` on any S3: AWS, SeaweedFS, Garage, Ceph, R2.

    boto3 clients are safe to share between threads, not between processes: make one store for each process.
    """

    def __init__(self, settings: Settings) -> None:
        self._bucket = settings.s3_bucket_name
        self._region = settings.aws_region
        self._ttl = settings.presigned_url_ttl_seconds
        public = settings.s3_public_endpoint_url or settings.s3_endpoint_url
        self._client = _client(settings, settings.s3_endpoint_url)
        # The host is part of what is signed: URLs for clients are signed for the address that clients use.
        self._signer = _client(settings, public)
        self._probe = _client(settings, settings.s3_endpoint_url, connect_timeout=1, read_timeout=1, attempts=1)

    def put(self, key: str, body: BinaryIO, content_type: str) -> None:
        with _faults():
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)

    def get(self, key: str) -> bytes:
        with _faults():
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()

    def delete(self, key: str) -> None:
        with _faults():
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def url(self, key: str) -> str:
        return self.presign(key, filename="").split("?", 1)[0]

    def presign(self, key: str, *, filename: str, attachment: bool = True) -> str:
        return self._signer.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self._bucket,
                "Key": key,
                "ResponseContentType": "image/png",
                "ResponseContentDisposition": disposition(filename, attachment=attachment),
            },
            ExpiresIn=self._ttl,
        )

    def prepare(self) -> None:
        try:
            with _faults():
                self._client.head_bucket(Bucket=self._bucket)
        except ObjectNotFound:
            with _faults():
                # AWS wants the region named, except its first one, which it refuses to see named.
                if self._region == "us-east-1":
                    self._client.create_bucket(Bucket=self._bucket)
                else:
                    self._client.create_bucket(
                        Bucket=self._bucket,
                        CreateBucketConfiguration={"LocationConstraint": self._region},  # type: ignore[typeddict-item]
                    )

    def check(self) -> None:
        with _faults():
            self._probe.head_bucket(Bucket=self._bucket)


def _client(
    settings: Settings,
    endpoint: str | None,
    *,
    connect_timeout: float = 2,
    read_timeout: float = 5,
    attempts: int = 2,
) -> "S3Client":
    secret = settings.aws_secret_access_key
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=settings.aws_region,
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
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
