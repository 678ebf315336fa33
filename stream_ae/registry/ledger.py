"""What is to be written to a run log, kept while its server is away."""

from collections import deque
from itertools import islice, takewhile

from stream_ae.errors import ConfigError, ModelError, TransientError
from stream_ae.ports import DeployedRun, Point, RunLog
from stream_ae.records import ModelIdentity
from stream_ae.telemetry import Log

log = Log("registry.ledger")

# A day of looks, one a minute.
MOST_POINTS = 1440
# Of one call: MLflow takes 1000 metrics at once.
POINTS_AT_ONCE = 60


class Ledger:
    """Points in order, the newest value of every tag, and which versions have left service."""

    def __init__(self, runs: RunLog, most: int = MOST_POINTS) -> None:
        self._log = runs
        self._most = most
        self._points: deque[tuple[ModelIdentity, Point]] = deque()
        self._tags: dict[tuple[str, str], str] = {}
        self._left: set[str] = set()
        self._runs: dict[str, DeployedRun] = {}
        self._in_service: set[str] = set()
        self._away = False
        self._dropped = 0
        self._picture_dropped = False

    def note(self, model: ModelIdentity, point: Point) -> None:
        """To be written; the oldest point goes if there are too many."""
        self._left.discard(model.digest)
        self._points.append((model, point))
        if len(self._points) > self._most:
            self._points.popleft()
            self._dropped += 1
            if self._dropped == 1:
                log.warning("points dropped: MLflow has been away for too long", kept=self._most)

    def tag(self, model: ModelIdentity, name: str, value: str) -> None:
        """To be set, empty = taken away, once the version has a run."""
        self._tags[model.digest, name] = value

    def picture(self, model: ModelIdentity, name: str, png: bytes) -> None:
        """Kept with the run at once, or dropped: what an hour looked like is no use a day later."""
        if model.digest not in self._in_service:
            return
        try:
            self._log.picture(self._runs[model.digest], name, png)
            self._picture_dropped = False
        except (TransientError, ModelError) as error:
            if not self._picture_dropped:
                log.warning("picture dropped", name=name, reason=str(error))
            self._picture_dropped = True

    def leave(self, model: ModelIdentity) -> None:
        """The version is out of service; noting a point puts it into service again."""
        self._left.add(model.digest)

    def reopen(self) -> None:
        """Somebody else may have closed runs meanwhile: open each again before it is written to."""
        self._in_service.clear()

    def write(self) -> list[DeployedRun]:
        """Write what there is, and the rest at a later call if MLflow does not take it; the runs newly opened."""
        opened: list[DeployedRun] = []
        try:
            while self._points:
                self._write_some(opened)
            self._write_tags()
            self._close()
        except (TransientError, ModelError, ConfigError) as error:
            if not self._away:
                log.warning("not written to MLflow", waiting=len(self._points), reason=str(error))
            self._away = True
            if isinstance(error, ModelError):
                # A run that was deleted by hand takes nothing any more: the next call opens another one.
                self._runs.clear()
                self._in_service.clear()
            return opened
        if self._away:
            log.info("written to MLflow again", dropped=self._dropped)
        self._away, self._dropped = False, 0
        return opened

    def _write_some(self, opened: list[DeployedRun]) -> None:
        model = self._points[0][0]
        some = [p for _, p in takewhile(lambda e: e[0].digest == model.digest, islice(self._points, POINTS_AT_ONCE))]
        if model.digest not in self._in_service:
            # A version that comes back, by a rollback, goes on in its run.
            self._runs[model.digest] = self._log.open(model, some[0].at_ms)
            self._in_service.add(model.digest)
            opened.append(self._runs[model.digest])
        self._log.write(self._runs[model.digest], some)
        for _ in some:
            self._points.popleft()

    def _write_tags(self) -> None:
        for (digest, name), value in list(self._tags.items()):
            if digest in self._runs:
                self._log.tag(self._runs[digest], name, value)
                del self._tags[digest, name]

    def _close(self) -> None:
        for digest in list(self._left):
            if digest in self._in_service:
                self._log.close(self._runs[digest])
                self._in_service.discard(digest)
            self._left.discard(digest)
