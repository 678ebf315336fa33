"""A real MLflow behind a door that shuts in the middle of things: at the n-th request of a kind, and from then on."""

import http.client
import re
import threading
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from stream_ae.localdev.process import LOOPBACK

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
LONGEST_S = 60.0


class Failing(StrEnum):
    """What a client meets with."""

    REFUSED = "nobody listens"
    ERROR = "answers 500"
    HANGING = "does not answer"
    LOST = "does what it is asked, and dies before it can say so"


class FaultyMlflow:
    """Passes everything on to `target` until a request "METHOD /path" matches; a context manager."""

    def __init__(self, target: str) -> None:
        self.seen: list[str] = []
        self._target = urlsplit(target)
        self._lock = threading.Lock()
        self._healed = threading.Event()
        self._pattern, self._nth, self._failing = "", 1, Failing.REFUSED
        self._down = False
        self._server = self._opened(0)
        self.address = f"http://{LOOPBACK}:{self._server.server_port}"

    def fail(self, failing: Failing, pattern: str, nth: int = 1) -> None:
        """From the `nth` request from now on that the pattern is found in."""
        with self._lock:
            self._failing, self._pattern, self._nth = failing, pattern, nth
            self.seen = []

    def heal(self) -> None:
        """As it was before."""
        with self._lock:
            self._pattern = ""
        self._healed.set()
        self._healed = threading.Event()
        if self._down and self._failing in (Failing.REFUSED, Failing.LOST):
            self._server = self._opened(urlsplit(self.address).port or 0)
        self._down = False

    @property
    def struck(self) -> bool:
        """Whether it has come to that."""
        return self._down

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._healed.set()
        self._shut()

    def answer(self, request: "_Request", body: bytes) -> None:
        struck = self._strikes(f"{request.command} {request.path}")
        if not struck:
            self._pass_on(request, body)
        elif self._failing is Failing.ERROR:
            request.reply(500, [], b"<html>Internal Server Error</html>")
        elif self._failing is Failing.HANGING:
            self._healed.wait(LONGEST_S)
            request.close_connection = True
        else:
            if self._failing is Failing.LOST and struck == "first":
                self._ask(request, body)
            request.close_connection = True
            self._shut()

    def _strikes(self, what: str) -> str:
        with self._lock:
            self.seen.append(what)
            if self._down:
                return "again"
            if self._pattern and re.search(self._pattern, what):
                self._nth -= 1
                self._down = self._nth == 0
            return "first" if self._down else ""

    def _pass_on(self, request: "_Request", body: bytes) -> None:
        answer, content = self._ask(request, body)
        request.reply(answer.status, answer.getheaders(), content)

    def _ask(self, request: "_Request", body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(self._target.hostname or "", self._target.port, timeout=LONGEST_S)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "connection"}
        connection.request(request.command, request.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def _opened(self, port: int) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer((LOOPBACK, port), type("Request", (_Request,), {"door": self}))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def _shut(self) -> None:
        with self._lock:
            self._server.shutdown()
            self._server.server_close()


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    door: FaultyMlflow

    def handle_one(self) -> None:
        self.door.answer(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one  # noqa: N815  http.server's names

    def reply(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *given: object) -> None:
        """Nothing: a test says what it saw."""
