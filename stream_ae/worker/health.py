"""/healthz, /readyz and /metrics on one port, served by the standard library's WSGI server."""

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from stream_ae.errors import ConfigError
from stream_ae.status import Health, WorkerStatus

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A probe every second is not news."""


class HealthServer:
    """Answers probes from its own threads.

    /healthz is 200 unless the worker is stalled; /readyz is 200 while it has a model and is neither stalled nor
    draining. A degraded worker (a server away, a version refused) is ready: it goes on answering records.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        status: Callable[[], WorkerStatus],
    ) -> None:
        self._metrics = make_wsgi_app(registry)
        self._status = status
        try:
            self._server = make_server(host, port, self._answer, ThreadingWSGIServer, _Quiet)
        except OSError as error:
            raise ConfigError(
                f"cannot serve health on {host}:{port} ({error.strerror}): set worker.http_host, worker.http_port"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def address(self) -> str:
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def __enter__(self) -> "HealthServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/healthz":
                status = self._status()
                alive = status.health is not Health.STALLED
                return _plain(start_response, alive, "alive" if alive else _told(status))
            case "/readyz":
                status = self._status()
                return _plain(start_response, status.health in (Health.RUNNING, Health.DEGRADED), _told(status))
            case "/metrics":
                answer: Iterable[bytes] = self._metrics(environ, start_response)
                return answer
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
                return [b"/healthz /readyz /metrics\n"]


def _told(status: WorkerStatus) -> str:
    return "\n".join((status.health.value, *status.problems))


def _plain(start_response: StartResponse, good: bool, text: str) -> list[bytes]:
    start_response("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]
