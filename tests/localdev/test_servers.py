import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import redis

from stream_ae import configuration
from stream_ae.errors import ConfigError, TransientError
from stream_ae.localdev.process import Launch, Server, free_port
from stream_ae.localdev.stack import Stack
from stream_ae.localdev.valkey import embedded_valkey

pytestmark = pytest.mark.servers


def test_valkey_keeps_its_data_and_its_address_over_kill_and_restart(tmp_path: Path) -> None:
    with embedded_valkey(tmp_path) as valkey, redis.Redis.from_url(valkey.address) as client:
        client.set("model", "16")
        valkey.kill()
        assert not valkey.running
        valkey.start()
        assert client.get("model") == b"16"


def test_a_paused_server_answers_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    with (
        embedded_valkey(tmp_path) as valkey,
        redis.Redis.from_url(valkey.address, socket_timeout=0.2) as client,
    ):
        valkey.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        valkey.resume()
        assert client.ping()


def test_a_server_that_ends_at_start_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('disk is full', file=sys.stderr); sys.exit(3)"]
    server = Server("Broken", "nowhere", tmp_path, Launch(command, lambda: False, start_timeout_s=20.0))
    with pytest.raises(TransientError, match=r"(?s)Broken ended with code 3.*disk is full"):
        server.start()
    assert not server.running


def test_a_server_that_never_answers_is_stopped_and_reported(tmp_path: Path) -> None:
    server = Server("Mute", "nowhere", tmp_path, Launch(["sleep", "100"], lambda: False, start_timeout_s=0.2))
    with pytest.raises(TransientError, match="Mute did not answer within 0.2 s"):
        server.start()
    assert not server.running


def test_a_start_that_waits_is_cancelled_from_another_thread(tmp_path: Path) -> None:
    server = Server("Mute", "nowhere", tmp_path, Launch(["sleep", "100"], lambda: False, start_timeout_s=60.0))
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(server.start)
        server.cancel()
        with pytest.raises(TransientError, match="Mute was stopped while it started"):
            starting.result()
    assert not server.running


def test_a_stack_of_which_one_server_fails_leaves_none_running(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "server.properties").mkdir()
    with pytest.raises(ConfigError, match="Kafka cannot use .*server.properties"):
        stack.start()
    assert not any(server.running for server in stack.servers)
    assert _processes_naming(tmp_path) == []


def test_a_command_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    launch = Launch(["/does/not/exist"], lambda: True, start_timeout_s=1.0)
    with pytest.raises(TransientError, match="/does/not/exist"):
        Server("Absent", "nowhere", tmp_path, launch).start()


def test_free_ports_stay_clear_of_the_ports_of_outgoing_connections() -> None:
    assert free_port() < 32768


def test_a_stack_points_the_settings_at_its_three_servers(stack: Stack) -> None:
    loaded = configuration.load(environment=stack.settings_overrides()).settings
    assert loaded.kafka.bootstrap_servers == stack.kafka.address
    assert loaded.redis.url.get_secret_value() == stack.valkey.address
    assert loaded.mlflow.tracking_uri == stack.mlflow.address
    assert all(server.running for server in stack.servers)


def _processes_naming(folder: Path) -> list[str]:
    """Command lines of living processes that work in `folder`."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(folder) in line]
