"""The settings of every process: environment first, then `.env` in the project's folder.

An unknown key in `.env` is an error, so that a misspelt one is found at start. Variables of the environment that are
not ours are nobody's business.
"""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.core.models import ExtraModels
from app.core.timing import Timing
from app.core.values import (
    FirstInterval,
    Names,
    Networks,
    OptionalInt,
    OptionalPath,
    OptionalSecret,
    OptionalStr,
    hosts,
    is_open_to_eavesdroppers,
    is_url,
    is_well_known,
    origins,
)

PROJECT_ROOT = Path(__file__).resolve().parents[3]
SECRETS_DIR = Path("/run/secrets")
MIB = 1_048_576
DAY = 86_400  # seconds
REDIS_SCHEMES = {"redis", "rediss"}
AMQP_SCHEMES = {"amqp", "amqps"}


class Environment(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"
    TEST = "test"


class Settings(BaseSettings):
    """One field per setting; the descriptions make `.env.example`."""

    model_config = SettingsConfigDict(
        env_file=PROJECT_ROOT / ".env",
        # What orchestrators mount secrets as: one file each, named like the setting.
        secrets_dir=SECRETS_DIR if SECRETS_DIR.is_dir() else None,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        case_sensitive=False,
    )

    env: Environment = Field(Environment.DEVELOPMENT, description="development, production or test")
    secret_key: SecretStr = Field(description="signs the tokens; at least 32 bytes, random")
    secret_key_previous: OptionalSecret = Field(
        None, description="the key before a change: what it has signed holds until it expires"
    )

    database_url: SecretStr = Field(description="postgresql://user:password@host:5432/name")
    redis_url: SecretStr = Field(description="redis://:password@host:6379/0 (Valkey: the same scheme)")
    celery_broker_url: OptionalSecret = Field(
        None, description="the broker, when it is not REDIS_URL; RabbitMQ: amqp://user:password@host:5672/"
    )

    celery_result_backend: OptionalSecret = Field(
        None, description="where other Celery clients want the result of process_pipeline: redis://…; empty: nowhere"
    )

    aws_access_key_id: OptionalStr = Field(
        None,
        validation_alias=AliasChoices("aws_access_key_id", "s3_access_key"),
        description="empty: the machine's own role",
    )
    aws_secret_access_key: OptionalSecret = Field(
        None, validation_alias=AliasChoices("aws_secret_access_key", "s3_secret_key"), description="see above"
    )
    aws_session_token: OptionalSecret = Field(None, description="of temporary credentials")
    aws_region: str = Field(
        "us-east-1",
        validation_alias=AliasChoices("aws_region", "aws_default_region"),
        description="the region that requests are signed for",
    )
    s3_bucket_name: str = Field(
        "quickbg-uploads",
        validation_alias=AliasChoices("s3_bucket_name", "s3_bucket"),
        description="originals and results; private",
    )
    s3_endpoint_url: OptionalStr = Field(None, description="empty: AWS; else the S3 server as we reach it")
    s3_public_endpoint_url: OptionalStr = Field(
        None, description="the S3 server as clients reach it: presigned URLs are signed for it"
    )
    s3_public_http_allowed: bool = Field(
        False, description="take http:// to a public host for that in production: whoever listens has the pictures"
    )
    s3_force_path_style: bool = Field(True, description="http://host/bucket/key instead of http://bucket.host/key")
    s3_key_shared_prefixes: Names = Field(
        (), description="beginnings of keys that every account may name as s3_key, by commas"
    )
    presigned_url_ttl_seconds: int = Field(3600, ge=60, le=604_800, description="how long a presigned URL holds")

    max_image_bytes: int = Field(10 * MIB, ge=1024, description="largest upload, in bytes")
    max_image_side: int = Field(4096, ge=64, le=16_384, description="largest width or height, in pixels")
    min_image_side: int = Field(50, ge=1, description="smallest width or height, in pixels")
    max_image_pixels: int = Field(4096 * 4096, ge=4096, description="largest width x height, in pixels")
    min_confidence: float = Field(
        0.35, ge=0, le=1, description="below this a picture has no subject and its task fails"
    )

    task_max_retries: int = Field(
        3,
        ge=0,
        le=50,
        validation_alias=AliasChoices("task_max_retries", "job_retry_max"),
        description="tries after the first one",
    )
    task_retry_delay_seconds: Annotated[float, FirstInterval] = Field(
        60,
        ge=0,
        validation_alias=AliasChoices("task_retry_delay_seconds", "job_retry_intervals"),
        description="wait before the first retry; it doubles with each",
    )
    task_timeout_seconds: int = Field(300, ge=5, description="longest time for one try")

    lease_seconds: float = Field(
        45, ge=5, le=600, description="a task whose worker gives no sign of life for this long is taken back"
    )
    max_backlog_seconds: float = Field(
        3600, ge=1, description="with more work than this in the queue, uploads are refused for a while"
    )

    worker_concurrency: OptionalInt = Field(None, ge=1, description="worker processes; empty: from cores and memory")
    worker_memory_limit_bytes: OptionalInt = Field(
        None, ge=0, description="memory of a worker process; empty: enough for the largest picture; 0: no limit"
    )
    engine: Literal["auto", "openvino", "onnxruntime", "cuda", "tensorrt"] = Field(
        "auto",
        description="what runs the network; auto: the fastest here. cuda, tensorrt: an NVIDIA GPU, by onnxruntime-gpu",
    )
    model_path: OptionalPath = Field(None, description="a weights file of your own (isnet-general-use.onnx)")
    model_cache_dir: Path = Field(
        PROJECT_ROOT / "var" / "models", description="where weights are kept after the first fetch"
    )
    extra_models: ExtraModels = Field((), description="rembg's other models that are offered, too, by commas")
    commercial_only: bool = Field(False, description="refuse weights whose licence is not cleared for commerce")

    result_retention_seconds: int = Field(
        7 * DAY,
        ge=3600,
        validation_alias=AliasChoices("result_retention_seconds", "cleanup_older_than_seconds"),
        description="how long a result is kept after the end of its task",
    )
    original_retention_seconds: int = Field(
        DAY, ge=3600, description="how long an original is kept after the end of the last task that uses it"
    )

    cleanup_enabled: bool = Field(True, description="clean up by itself; else only scripts/run_cleanup.py does")
    cleanup_interval_seconds: float = Field(3600, ge=10, description="how often it does")
    orphan_grace_seconds: float = Field(
        3600,
        ge=0,
        description="what failed requests and attempts have left is kept for this long, or as long as a try may last",
    )

    drain_seconds: float = Field(
        0,
        ge=0,
        le=300,
        description="a stopping API serves on for this long while /readyz says 503, so that a load balancer turns away",
    )
    upload_deadline_seconds: float = Field(60, ge=1, le=600, description="an upload has to be sent within this time")
    upload_min_bytes_per_second: int = Field(
        1024, ge=0, description="one that comes slower than this is ended; 0: any speed"
    )

    access_token_ttl_seconds: int = Field(1800, ge=60, description="how long an access token holds")
    refresh_token_ttl_seconds: int = Field(30 * DAY, ge=3600, description="how long a login can be refreshed")
    registration_enabled: bool = Field(True, description="strangers may register an account")

    rate_limit_requests_per_minute: int = Field(
        600, ge=0, description="requests of one account that change something; 0: no limit (so for all of these)"
    )
    rate_limit_reads_per_minute: int = Field(12000, ge=0, description="requests of one account that only read")
    rate_limit_megapixels_per_minute: int = Field(6000, ge=0, description="what one account may put in the queue")
    rate_limit_logins_per_minute: int = Field(
        60, ge=0, description="logins, registrations and refreshes from one address"
    )
    quota_active_tasks: int = Field(200, ge=0, description="tasks of one account that are not over; 0: no limit")
    quota_images_per_month: int = Field(0, ge=0, description="images of one account in a calendar month; 0: no limit")

    max_batch_files: int = Field(1000, ge=1, le=10_000, description="pictures in one batch")
    max_batch_bytes: int = Field(256 * MIB, ge=MIB, description="largest request that brings a batch, in bytes")
    sync_wait_seconds: float = Field(
        25.0, ge=0, le=25, description="how long an answer waits for its picture; after that it names the task"
    )
    drop_in_wait_seconds: float = Field(
        120.0, ge=0, le=900, description="likewise for remove.bg's and rembg's programs, which never ask by a task"
    )
    webhook_give_up_seconds: float = Field(
        5 * DAY, gt=0, description="an address that has failed for so long gets no more webhooks"
    )

    open_doors: bool = Field(
        False,
        description="strangers may use the routes that answer with the picture, batches and other services' doors; "
        "for networks that are closed already",
    )
    improve_enabled: bool = Field(
        False, description="POST /v1.0/improve keeps pictures that were cut out badly, until you delete them"
    )
    url_ingest_enabled: bool = Field(True, description="images may be named by their URL, which a worker then fetches")
    outbound_allowed_networks: Networks = Field(
        (), description="networks like 10.1.0.0/16, by commas, that may be fetched from although they are private"
    )
    outbound_proxy_url: OptionalSecret = Field(None, description="a proxy for what is fetched, like smokescreen")

    cors_origins: Annotated[Names, AfterValidator(origins)] = Field(
        (), description="origins like https://app.example.com, by commas, that may call"
    )
    trusted_hosts: Annotated[Names, AfterValidator(hosts)] = Field(
        (), description="host names that are answered, by commas; empty: all"
    )
    trusted_proxies: Networks = Field(
        (), description="addresses or networks of reverse proxies, by commas, whose X-Forwarded-For is believed"
    )
    docs_enabled: bool = Field(True, description="the page at /api/v1/docs and the schema it shows")
    metrics_open: bool = Field(
        False, description="everybody may read /metrics; else administrators and API keys with the scope metrics"
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="DEBUG to ERROR")
    log_dir: Path = Field(PROJECT_ROOT / "logs", description="metrics.log and the logs of the processes")

    @field_validator("secret_key", "secret_key_previous")
    @classmethod
    def _long_enough(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < 32:
            raise ValueError(f"{str(info.field_name).upper()} must have at least 32 bytes")
        return value

    @model_validator(mode="after")
    def _fit_for_production(self) -> "Settings":
        if self.env is not Environment.PRODUCTION:
            return self
        if names := self._well_known_secrets():
            raise ValueError(f"{' and '.join(names)}: a secret that everybody knows; ENV=production needs its own")
        if os.environ.get("FAILPOINTS"):
            raise ValueError("FAILPOINTS: made to break tests, not ENV=production")
        if "*" in self.cors_origins:
            raise ValueError("CORS_ORIGINS: ENV=production needs names, and not every page there is")
        signed_for = "S3_PUBLIC_ENDPOINT_URL" if self.s3_public_endpoint_url else "S3_ENDPOINT_URL"
        if not self.s3_public_http_allowed and is_open_to_eavesdroppers(getattr(self, signed_for.lower()) or ""):
            raise ValueError(f"{signed_for}: ENV=production needs https, or S3_PUBLIC_HTTP_ALLOWED=true")
        return self

    def _well_known_secrets(self) -> list[str]:
        """The names of the settings whose secret stands in some example."""
        aws, broker, previous = self.aws_secret_access_key, self.celery_broker_url, self.secret_key_previous
        backend = self.celery_result_backend
        secrets = {
            "SECRET_KEY": self.secret_key.get_secret_value(),
            "SECRET_KEY_PREVIOUS": previous.get_secret_value() if previous else None,
            "DATABASE_URL": urlsplit(self.database_url.get_secret_value()).password,
            "REDIS_URL": urlsplit(self.redis_url.get_secret_value()).password,
            "CELERY_BROKER_URL": urlsplit(broker.get_secret_value()).password if broker else None,
            "CELERY_RESULT_BACKEND": urlsplit(backend.get_secret_value()).password if backend else None,
            "AWS_SECRET_ACCESS_KEY": aws.get_secret_value() if aws else None,
        }
        return [name for name, secret in secrets.items() if secret is not None and is_well_known(secret)]

    @field_validator("model_path", "model_cache_dir", "log_dir")
    @classmethod
    def _from_the_project(cls, value: Path | None) -> Path | None:
        """A relative path counts from the project's folder, wherever the process was started."""
        return None if value is None else PROJECT_ROOT / value

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, value: SecretStr) -> SecretStr:
        if not is_url(value.get_secret_value(), {"postgres", "postgresql", "postgresql+psycopg"}):
            raise ValueError("must look like postgresql://user:password@host:5432/name")
        return value

    @field_validator("s3_endpoint_url", "s3_public_endpoint_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not (is_url(value, {"http", "https"}) and urlsplit(value).hostname):
            raise ValueError("must look like https://host:port")
        return value

    @field_validator("outbound_proxy_url")
    @classmethod
    def _http_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not (
            is_url(value.get_secret_value(), {"http", "https"}) and urlsplit(value.get_secret_value()).hostname
        ):
            raise ValueError("must look like http://host:port")
        return value

    @field_validator("s3_key_shared_prefixes")
    @classmethod
    def _nobodys_own(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        closed = ("originals/", "processed/", "mattes/", "imports/", "improve/")
        if any(own.startswith(prefix) for prefix in value for own in closed):
            raise ValueError("would open the images of every account to all; name longer beginnings of keys")
        return value

    @field_validator("redis_url")
    @classmethod
    def _not_a_cluster(cls, value: SecretStr) -> SecretStr:
        if _scheme(value) not in REDIS_SCHEMES:
            raise ValueError("REDIS_URL must start with redis:// or rediss:// (for Valkey too)")
        return value

    @field_validator("celery_broker_url")
    @classmethod
    def _known_broker(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and _scheme(value) not in REDIS_SCHEMES | AMQP_SCHEMES:
            raise ValueError("CELERY_BROKER_URL must start with amqp://, amqps://, redis:// or rediss://")
        return value

    @field_validator("celery_result_backend")
    @classmethod
    def _known_backend(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and _scheme(value) not in REDIS_SCHEMES:
            raise ValueError("CELERY_RESULT_BACKEND must start with redis:// or rediss://")
        return value

    @model_validator(mode="after")
    def _keys_in_pairs(self) -> "Settings":
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together; one of them is not set")
        return self

    @property
    def sqlalchemy_url(self) -> str:
        """The database URL with psycopg 3 named as the driver, whichever way people write it."""
        url = self.database_url.get_secret_value()
        for prefix in ("postgres://", "postgresql://"):
            if url.startswith(prefix):
                return "postgresql+psycopg://" + url.removeprefix(prefix)
        return url

    @property
    def broker_url(self) -> str:
        return (self.celery_broker_url or self.redis_url).get_secret_value()

    @property
    def broker_is_amqp(self) -> bool:
        return urlsplit(self.broker_url).scheme in AMQP_SCHEMES

    @property
    def timing(self) -> Timing:
        return Timing.from_timeout(self.task_timeout_seconds, self.lease_seconds)


def _scheme(url: SecretStr) -> str:
    return urlsplit(url.get_secret_value()).scheme


EX_CONFIG = 78  # sysexits.h: something was found in an unconfigured or misconfigured state


def load_settings() -> Settings:
    """The settings of this process. If they make no sense, it ends, with one line that names each wrong one.

    Never with their values: a mistyped DATABASE_URL still holds a password.
    """
    try:
        return Settings()
    except ValidationError as error:
        sys.stderr.write(f"quickbg: {settings_sentence(error)}\n")
        raise SystemExit(EX_CONFIG) from None


def settings_sentence(error: ValidationError) -> str:
    """What is wrong with the settings, by the names that people write."""
    wrong = (
        ": ".join([*(str(name).upper() for name in e["loc"]), e["msg"].removeprefix("Value error, ")])
        for e in error.errors(include_input=False)
    )
    return "These settings make no sense: " + "; ".join(wrong)
