"""An embedded MLflow server on SQLite, trimmed to one worker (FACTS, 'MLflow')."""

import importlib.util
import sys
import urllib.request
from pathlib import Path

from stream_ae.errors import ConfigError
from stream_ae.localdev.process import LOOPBACK, Launch, Server, free_port

# Without these it is 15 processes and 38 s.
TRIMMED = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
}
QUESTION = "/api/2.0/mlflow/experiments/search?max_results=1"


def embedded_mlflow(folder: Path) -> Server:
    """An MLflow tracking server and registry with database and artifacts in `folder`; `address` is its URI."""
    _check_installed()
    port = free_port()
    root = folder.absolute()
    address = f"http://{LOOPBACK}:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", LOOPBACK),
        *("--port", str(port)),
        *("--workers", "1"),
        # Clients keep connections open; the server need not wait for them to hang up.
        *("--uvicorn-opts", "--timeout-graceful-shutdown 1"),
        *("--backend-store-uri", f"sqlite:///{root / 'mlflow.db'}"),
        *("--artifacts-destination", str(root / "artifacts")),
    ]

    def answers() -> bool:
        # A proxy set in the environment has no business between this machine and itself.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(address + QUESTION, timeout=5.0) as response:
            return bool(response.status == 200)

    return Server("MLflow", address, folder, Launch(command, answers, start_timeout_s=180.0, environment=TRIMMED))


def _check_installed() -> None:
    # flask tells the full mlflow from mlflow-skinny, which has no server.
    if importlib.util.find_spec("mlflow") is None or importlib.util.find_spec("flask") is None:
        raise ConfigError("the embedded MLflow needs the full mlflow: pip install 'stream-ae[local]'")
