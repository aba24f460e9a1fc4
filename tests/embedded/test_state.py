"""What a data folder remembers."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from app.core.config import Settings
from app.embedded import state as states
from app.embedded.given import SECRET, external, given
from app.embedded.layout import EmbeddedError, Layout
from app.embedded.ports import GRPC_OFFSET, HOST, choose, is_free, is_usable, stale_sockets
from app.embedded.stack import secret_key, service, services, settings_environment
from app.embedded.state import load, load_or_create, save, with_usable_ports
from app.embedded.supervisor import config_text


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout.at(tmp_path / "data")
    layout.make()
    return layout


def test_it_is_made_once_and_kept(layout: Layout) -> None:
    assert load(layout) is None
    made = load_or_create(layout)
    assert load_or_create(layout) == made == load(layout)


def test_only_its_owner_can_read_it_and_it_is_not_printed(layout: Layout) -> None:
    state = load_or_create(layout)
    assert layout.state.stat().st_mode & 0o777 == 0o600
    assert layout.data.stat().st_mode & 0o007 == 0
    assert state.secret_key not in repr(state)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"ports": {}, "unknown": 1}', "\x00"])
def test_a_damaged_one_is_told_and_never_replaced(layout: Layout, content: str) -> None:
    layout.state.write_text(content)
    with pytest.raises(EmbeddedError, match="damaged"):
        load_or_create(layout)
    assert layout.state.read_text() == content


def test_one_that_lacks_a_port_is_damaged(layout: Layout) -> None:
    load_or_create(layout)
    members = json.loads(layout.state.read_text())
    del members["ports"]["supervisor"]
    layout.state.write_text(json.dumps(members))
    with pytest.raises(EmbeddedError, match="damaged"):
        load(layout)


def test_a_lost_one_is_told_by_its_name_in_any_folder(layout: Layout) -> None:
    layout.postgres.mkdir()
    layout.make()
    with pytest.raises(EmbeddedError, match="the keys to the data"):
        load_or_create(layout)


@pytest.mark.parametrize("name", ['a"b', "a$b", "a`b", "a\\b"])
def test_a_path_that_postgres_cannot_work_at_is_told(tmp_path: Path, name: str) -> None:
    layout = Layout.at(tmp_path / name)
    layout.make()
    with pytest.raises(EmbeddedError, match="may stand in the path"):
        service(layout, load_or_create(layout), "postgres").prepare()


def test_a_lost_one_is_not_made_anew_over_data(layout: Layout) -> None:
    layout.postgres.mkdir()
    with pytest.raises(EmbeddedError, match="missing"):
        load_or_create(layout)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match="Cannot use"):
        Layout.at(tmp_path / "file" / "data").make()


def test_a_port_that_somebody_else_took_is_exchanged_and_the_others_stay(layout: Layout) -> None:
    state = load_or_create(layout)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a test before may have had the port
        other.bind((HOST, state.ports["postgres"]))
        other.listen()
        changed = with_usable_ports(layout, state)
    assert changed.ports["postgres"] != state.ports["postgres"]
    assert {**changed.ports, "postgres": 0} == {**state.ports, "postgres": 0}
    assert load(layout) == changed


@pytest.mark.parametrize("offset", [0, GRPC_OFFSET])
def test_a_port_that_the_api_is_to_have_is_exchanged(layout: Layout, offset: int) -> None:
    state = load_or_create(layout)
    changed = with_usable_ports(layout, state.with_port("api", state.ports["s3_filer"] + offset))
    assert changed.ports["s3_filer"] != state.ports["s3_filer"]
    assert changed.api_port == state.ports["s3_filer"] + offset
    assert load(layout) == changed


def test_chosen_ports_never_meet_with_their_second_ones() -> None:
    chosen: list[int] = []
    for _ in range(50):
        chosen.append(choose(chosen))
    taken = [port + offset for port in chosen for offset in (0, GRPC_OFFSET)]
    assert len(set(taken)) == len(taken)


def test_a_port_counts_as_usable_only_with_its_second_one() -> None:
    port = choose(())
    with socket.socket() as other:
        other.bind((HOST, port + GRPC_OFFSET))
        other.listen()
        assert is_free(port)
        assert not is_usable(port)


def test_a_port_with_somebody_elses_socket_file_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = choose(())
    monkeypatch.setattr("app.embedded.ports.SOCKETS", tmp_path)
    assert is_usable(port)
    (tmp_path / f"seaweedfs-s3-grpc-{port + GRPC_OFFSET}.sock").touch()
    assert not is_usable(port)


def test_a_socket_file_in_use_is_not_a_stale_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = choose(())
    monkeypatch.setattr("app.embedded.ports.SOCKETS", tmp_path)
    file = tmp_path / f"seaweedfs-master-grpc-{port + GRPC_OFFSET}.sock"
    file.touch()
    assert stale_sockets(port) == [file]
    with socket.socket() as other:
        other.bind((HOST, port + GRPC_OFFSET))
        other.listen()
        assert stale_sockets(port) == []


def test_every_port_is_another(layout: Layout) -> None:
    chosen = load_or_create(layout).ports
    assert len(set(chosen.values())) == len(states.PORT_NAMES) + 1


def test_the_environment_is_what_settings_read(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    state = load_or_create(layout)
    for name, value in settings_environment(layout, state).items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    assert settings.sqlalchemy_url.endswith(f":{state.ports['postgres']}/quickbg")
    assert settings.broker_url == settings.redis_url.get_secret_value()
    assert settings.s3_endpoint_url == f"http://{HOST}:{state.ports['s3']}"
    assert settings.s3_public_endpoint_url is None
    assert settings.log_dir == layout.data / "logs"


def test_what_is_the_persons_own_is_left_to_him(layout: Layout) -> None:
    state = replace(load_or_create(layout), external=("postgres", "seaweedfs", SECRET))
    assert set(settings_environment(layout, state)) == {"REDIS_URL", "MODEL_CACHE_DIR", "LOG_DIR", "METRICS_OPEN"}
    assert [service.name for service in services(layout, state)] == ["valkey"]
    assert "program:postgres" not in config_text(state, temporary=False)
    assert "program:valkey" in config_text(state, temporary=False)


def test_what_was_the_persons_own_is_remembered(layout: Layout) -> None:
    state = save(layout, replace(load_or_create(layout), external=("postgres",)))
    assert load(layout) == state


def test_a_state_of_the_first_version_is_understood(layout: Layout) -> None:
    load_or_create(layout)
    members = json.loads(layout.state.read_text())
    del members["external"]
    layout.state.write_text(json.dumps(members))
    made = load(layout)
    assert made is not None
    assert made.external == ()


def test_a_command_that_does_not_see_the_persons_own_settings_says_so(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = replace(load_or_create(layout), external=("postgres", SECRET))
    monkeypatch.delenv(SECRET, raising=False)
    with pytest.raises(EmbeddedError, match="your own SECRET_KEY, not set here"):
        secret_key(state)
    monkeypatch.setenv(SECRET, "mine")
    assert secret_key(state) == "mine"
    assert secret_key(replace(state, external=())) == state.secret_key


def test_the_environment_goes_before_the_file_and_empty_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://a/b\nREDIS_URL=\nS3_BUCKET=mine\nLOG_LEVEL=DEBUG\n")
    monkeypatch.setattr("app.embedded.given.PROJECT_ROOT", tmp_path)
    monkeypatch.setattr("os.environ", {"log_level": "INFO", "REDIS_URL": ""})
    found = given()
    assert found["LOG_LEVEL"] == "INFO"
    assert external(found) == ("postgres", "seaweedfs")
    assert external({**found, SECRET: "x", "REDIS_URL": "redis://a"}) == ("postgres", "valkey", "seaweedfs", SECRET)


def test_a_folder_with_other_things_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("not ours")
    tmp_path.chmod(0o755)
    with pytest.raises(EmbeddedError, match="holds other things"):
        Layout.at(tmp_path).make()
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
