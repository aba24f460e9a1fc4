"""The settings: what is taken from where, and what is refused with the name of the variable."""

import re
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.core.config import PROJECT_ROOT, Settings, settings_sentence
from app.embedded.ports import choose
from tests.conftest import TestSettings

PRODUCTION = {
    "ENV": "production",
    "SECRET_KEY": "4q8vFz0mZbT2nRk7Xw5cJ9dLh1sPy3Ga6eUoIiBt",
    "DATABASE_URL": "postgresql://quickbg:4q8vFz0mZb@db:5432/quickbg",
    "AWS_ACCESS_KEY_ID": "4q8vFz0mZb",
    "AWS_SECRET_ACCESS_KEY": "T2nRk7Xw5cJ9dLh1sPy3Ga6eUoIiBt",
}
NEEDED = {
    "SECRET_KEY": "s" * 32,
    "DATABASE_URL": "postgresql://u:p@localhost/quickbg",
    "REDIS_URL": "redis://localhost:6379/0",
}


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_IMAGE_BYTES", "1048576")
    settings = TestSettings()
    assert settings.max_image_bytes == 1_048_576
    assert settings.sqlalchemy_url == "postgresql+psycopg://u:p@localhost/quickbg"
    assert settings.broker_url == NEEDED["REDIS_URL"]


@pytest.mark.parametrize(
    ("alias", "value", "name", "expected"),
    [
        ("S3_ACCESS_KEY", "k", "aws_access_key_id", "k"),
        ("S3_BUCKET", "b", "s3_bucket_name", "b"),
        ("AWS_DEFAULT_REGION", "eu-central-1", "aws_region", "eu-central-1"),
        ("CLEANUP_OLDER_THAN_SECONDS", "7200", "result_retention_seconds", 7200),
        ("JOB_RETRY_MAX", "5", "task_max_retries", 5),
        ("JOB_RETRY_INTERVALS", "30,60,120", "task_retry_delay_seconds", 30.0),
    ],
)
def test_old_names_are_known(
    monkeypatch: pytest.MonkeyPatch, alias: str, value: str, name: str, expected: object
) -> None:
    monkeypatch.setenv("S3_ACCESS_KEY", "a")
    monkeypatch.setenv("S3_SECRET_KEY", "s")
    monkeypatch.setenv(alias, value)
    assert getattr(TestSettings(), name) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "short"),
        ("SECRET_KEY_PREVIOUS", "short"),
        ("SECRET_KEY", ""),
        ("REDIS_URL", "valkey://localhost"),
        ("DATABASE_URL", "mysql://u:p@localhost/quickbg"),
        ("DATABASE_URL", "postgresql://u:p@localhost:port/quickbg"),
        ("DATABASE_URL", "quickbg"),
        ("S3_ENDPOINT_URL", "foo"),
        ("S3_PUBLIC_ENDPOINT_URL", "https://"),
        ("REDIS_URL", "redis+cluster://localhost"),
        ("CELERY_BROKER_URL", "sqs://"),
        ("CELERY_BROKER_URL", "sentinel://s:26379"),
        ("REDIS_URL", "sentinel://s:26379"),
        ("RESULT_RETENTION_SECONDS", "0"),
        ("TASK_TIMEOUT_SECONDS", "0"),
        ("LOG_LEVEL", "LOUD"),
        ("ENV", "prod"),
        ("OUTBOUND_ALLOWED_NETWORKS", "10.0.0.0/8, everything"),
        ("OUTBOUND_ALLOWED_NETWORKS", "10.0.0.1/8"),
        ("OUTBOUND_PROXY_URL", "socks5://proxy:1080"),
        ("OUTBOUND_PROXY_URL", "http://"),
        ("S3_KEY_SHARED_PREFIXES", "shared/, orig"),
        ("S3_KEY_SHARED_PREFIXES", "imports/"),
        ("S3_KEY_SHARED_PREFIXES", "improve/"),
    ],
)
def test_what_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.lower()):
        TestSettings()


def test_what_is_outside_is_named_by_networks_a_proxy_and_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTBOUND_ALLOWED_NETWORKS", "10.1.0.0/16, fd00::/8,192.168.1.7")
    monkeypatch.setenv("OUTBOUND_PROXY_URL", "http://user:password@proxy:4750")
    monkeypatch.setenv("S3_KEY_SHARED_PREFIXES", "originals/existing-image.jpg,shared/")
    settings = TestSettings()
    assert settings.outbound_allowed_networks == ("10.1.0.0/16", "fd00::/8", "192.168.1.7")
    assert settings.s3_key_shared_prefixes == ("originals/existing-image.jpg", "shared/")
    assert "password" not in repr(settings)


@pytest.mark.parametrize("url", ["amqp://guest:guest@localhost//", "amqps://rabbit.example.com/", "rediss://s:6380"])
def test_a_broker_of_ones_own(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", url)
    assert TestSettings().broker_url == url
    assert TestSettings().broker_is_amqp == url.startswith("amqp")


def test_half_a_pair_of_keys_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    with pytest.raises(ValidationError, match="belong together"):
        TestSettings()


def test_an_unknown_key_in_the_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("MAX_IMAGE_BITES=1\n")
    with pytest.raises(ValidationError, match="max_image_bites"):
        TestSettings(_env_file=file)


def test_the_example_file_can_be_used_with_a_key_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    for name in NEEDED:
        monkeypatch.delenv(name)
    file = tmp_path / ".env"
    text = (project / ".env.example").read_text()
    # Also with every line that is commented out.
    lines = [line.removeprefix("# ") if "=" in line and line[2:3].isupper() else line for line in text.splitlines()]
    file.write_text("\n".join(lines).replace("SECRET_KEY=\n", f"SECRET_KEY={'s' * 32}\n", 1))
    settings = TestSettings(_env_file=file)
    assert settings.model_cache_dir == PROJECT_ROOT / "var" / "models"
    assert settings.model_path is None
    assert settings.s3_endpoint_url is None


def test_secrets_do_not_show() -> None:
    shown = repr(TestSettings())
    for value in NEEDED.values():
        assert value not in shown


def test_a_process_with_wrong_settings_ends_with_one_line_and_no_value(project: Path) -> None:
    environment = NEEDED | {"SECRET_KEY": "hunter2", "REDIS_URL": "nowhere://:hunter2@x", "PATH": "/usr/bin"}
    for command in (
        ["app.api.server"],
        ["celery", "-A", "app.tasks.celery_app", "worker"],
        ["app.tasks.sweeper"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=project / "backend", env=environment, capture_output=True, text=True
        )
        assert done.returncode == 78, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("quickbg: These settings make no sense: ")
        assert "SECRET_KEY" in line
        assert "REDIS_URL" in line
        assert "hunter2" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "change-me-change-me-change-me-change-me"),
        ("SECRET_KEY", "your-random-secret-key-here-and-longer"),
        ("SECRET_KEY", "a" * 40),
        ("SECRET_KEY_PREVIOUS", "change-me-change-me-change-me-change-me"),
        ("DATABASE_URL", "postgresql://postgres:postgres@db:5432/quickbg"),
        ("REDIS_URL", "redis://:Password@redis:6379/0"),
        ("CELERY_BROKER_URL", "amqp://guest:guest@rabbit:5672//"),
        ("AWS_SECRET_ACCESS_KEY", "minioadmin"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ],
)
def test_production_refuses_secrets_that_everybody_knows(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for each, good in PRODUCTION.items():
        monkeypatch.setenv(each, good)
    assert TestSettings().env == "production"
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        TestSettings()
    assert f": {name}: a secret that everybody knows; ENV=production needs" in settings_sentence(caught.value)
    monkeypatch.setenv("ENV", "development")
    TestSettings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRUSTED_PROXIES", "proxy.example.com"),
        ("TRUSTED_PROXIES", "*"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_HOSTS", "https://api.example.com"),
        ("TRUSTED_HOSTS", "api.example.com:8000"),
        ("TRUSTED_HOSTS", "*"),
        ("TRUSTED_HOSTS", "api.*.com"),
        ("CORS_ORIGINS", "app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com/"),
        ("CORS_ORIGINS", "https://app.example.com,*"),
        ("CORS_ORIGINS", "https://*.example.com"),
        ("CORS_ORIGINS", "null"),
    ],
)
def test_a_list_says_what_belongs_in_it(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        TestSettings()
    assert re.search(f"{name}: must be .*, by commas", settings_sentence(caught.value))


def test_lists_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8, 2001:db8::1,127.0.0.1")
    monkeypatch.setenv("TRUSTED_HOSTS", "api.example.com,*.example.org, [::1]")
    monkeypatch.setenv("CORS_ORIGINS", "https://app.example.com, http://localhost:3000")
    settings = TestSettings()
    assert settings.trusted_proxies == ("10.0.0.0/8", "2001:db8::1", "127.0.0.1")
    assert settings.trusted_hosts == ("api.example.com", "*.example.org", "[::1]")
    assert settings.cors_origins == ("https://app.example.com", "http://localhost:3000")
    monkeypatch.setenv("CORS_ORIGINS", "*")
    assert TestSettings().cors_origins == ("*",)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS"),
        ({"S3_PUBLIC_ENDPOINT_URL": "http://s3.example.com"}, "S3_PUBLIC_ENDPOINT_URL"),
        ({"S3_PUBLIC_ENDPOINT_URL": "http://8.8.8.8:9000"}, "S3_PUBLIC_ENDPOINT_URL"),
        ({"S3_ENDPOINT_URL": "http://s3.example.com"}, "S3_ENDPOINT_URL"),
        ({"S3_PUBLIC_ENDPOINT_URL": "https://s3.example.com"}, None),
        ({"S3_PUBLIC_ENDPOINT_URL": "http://127.0.0.1:8333"}, None),
        ({"S3_PUBLIC_ENDPOINT_URL": "http://192.168.1.5:9000"}, None),
        ({"S3_PUBLIC_ENDPOINT_URL": "http://nas.local:9000"}, None),
        ({"S3_ENDPOINT_URL": "http://seaweedfs:8333"}, None),
        ({"S3_ENDPOINT_URL": "http://s3.example.com", "S3_PUBLIC_ENDPOINT_URL": "https://s3.example.com"}, None),
        ({"S3_PUBLIC_ENDPOINT_URL": "http://s3.example.com", "S3_PUBLIC_HTTP_ALLOWED": "true"}, None),
    ],
)
def test_production_has_no_open_door_by_mistake(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], named: str | None
) -> None:
    for name, value in (PRODUCTION | changes).items():
        monkeypatch.setenv(name, value)
    if named is None:
        assert TestSettings().env == "production"
        return
    with pytest.raises(ValidationError) as caught:
        TestSettings()
    assert f": {named}: ENV=production needs" in settings_sentence(caught.value)
    monkeypatch.setenv("ENV", "development")
    TestSettings()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"SECRET_KEY": "your-random-secret-key-here-and-longer"}, "SECRET_KEY"),
        ({"DATABASE_URL": "postgresql://quickbg:quickbg_pass@db/quickbg"}, "DATABASE_URL"),
        ({"S3_PUBLIC_ENDPOINT_URL": "http://s3.example.com"}, "S3_PUBLIC_ENDPOINT_URL"),
    ],
)
def test_a_server_for_production_does_not_start_with_them(project: Path, changes: dict[str, str], named: str) -> None:
    """At once, with no port opened, and with the name of the variable but never its value."""
    environment = PRODUCTION | {"REDIS_URL": NEEDED["REDIS_URL"], "PATH": "/usr/bin"} | changes
    command = [sys.executable, "-m", "app.api.server", "--port", str(port := choose(()))]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with socket.socket() as taken:  # a server that came so far would end with another status
        taken.bind(("127.0.0.1", port))
        done = subprocess.run(command, cwd=project / "backend", env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 78, done.stderr
    (line,) = done.stderr.splitlines()
    assert named in line
    assert not [value for value in changes.values() if value and value in line]
    # Of the processor: others may be busy on this machine.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3


def test_secrets_come_out_of_files_and_the_environment_goes_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret_key").write_text("f" * 40 + "\n")
    (tmp_path / "redis_url").write_text("redis://from-a-file/0\n")
    monkeypatch.delenv("SECRET_KEY")
    settings = TestSettings(_secrets_dir=tmp_path)
    assert settings.secret_key.get_secret_value() == "f" * 40
    assert settings.redis_url.get_secret_value() == NEEDED["REDIS_URL"]
