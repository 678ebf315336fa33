"""The model store and the signal in memory, for tests: `away()` makes a server unreachable, `back()` brings it back.

redis = InMemoryRedis(clock)
worker, job = InMemorySignal(redis), InMemorySignal(redis)    # two clients of one server
"""

import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from stream_ae.clock import Clock
from stream_ae.digest import folder_digest
from stream_ae.errors import LockHeldError, ModelError, TransientError
from stream_ae.ports import Desired, JobRun, Lease
from stream_ae.records import ModelVersion
from stream_ae.status import WorkerStatus


class InMemoryStore:
    """Implements `ports.ModelStore`."""

    def __init__(self, clock: Clock, name: str = "default") -> None:
        self._clock = clock
        self._name = name
        self._lock = threading.Lock()
        self._versions: list[ModelVersion] = []
        self._files: list[Mapping[str, bytes]] = []
        self._champion: str | None = None
        self._deleted: set[str] = set()
        self._away = False

    def away(self) -> None:
        """From now on every call raises TransientError."""
        self._away = True

    def back(self) -> None:
        self._away = False

    def register(
        self,
        folder: Path,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        pictures: Mapping[str, bytes] | None = None,
        description: str = "",
    ) -> ModelVersion:
        self._check()
        digest = folder_digest(folder)
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with self._lock:
            number = str(len(self._versions) + 1)
            now_ms = self._clock.wall_ms()
            made = ModelVersion(self._name, number, digest, now_ms, tags=dict(tags), description=description)
            self._versions.append(made)
            self._files.append(files)
        return made

    def versions(self) -> list[ModelVersion]:
        self._check()
        return [self._with_aliases(version) for version in self._versions if version.version not in self._deleted]

    def champion(self) -> ModelVersion | None:
        self._check()
        return self._version(self._champion) if self._champion is not None else None

    def promote(self, version: str) -> ModelVersion:
        self._check()
        self._version(version)
        self._champion = version
        return self._version(version)

    def tag(self, version: str, tags: Mapping[str, str], description: str = "") -> None:
        self._check()
        place = int(self._version(version).version) - 1
        with self._lock:
            known = self._versions[place]
            self._versions[place] = replace(
                known, tags={**known.tags, **tags}, description=description or known.description
            )

    def fetch(self, version: str, destination: Path) -> Path:
        self._check()
        files = self._files[int(self._version(version).version) - 1]
        for name, content in files.items():
            path = destination / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return destination

    def delete(self, version: str) -> None:
        """As a person does by hand in MLflow; its aliases go with it, its number is not given again."""
        self._check()
        self._deleted.add(self._version(version).version)
        if version == self._champion:
            self._champion = None

    def _check(self) -> None:
        if self._away:
            raise TransientError("the model store is away")

    def _version(self, version: str) -> ModelVersion:
        for known in self._versions:
            if known.version == version and version not in self._deleted:
                return self._with_aliases(known)
        raise ModelError(f"{self._name} has no version {version}: see `stream-ae models list`")

    def _with_aliases(self, version: ModelVersion) -> ModelVersion:
        return replace(version, aliases=("champion",) if version.version == self._champion else ())


@dataclass
class _Pipeline:
    """What the server holds for one pipeline; a status comes with the time at which it expires."""

    announced: list[Desired] = field(default_factory=list)
    withdrawn: bool = False
    statuses: dict[str, tuple[float, WorkerStatus]] = field(default_factory=dict)
    locked: dict[str, Lease] = field(default_factory=dict)
    locked_last: dict[str, Lease] = field(default_factory=dict)
    nudges: list[threading.Event] = field(default_factory=list)
    runs: dict[tuple[int, str], JobRun] = field(default_factory=dict)

    def nudge(self) -> None:
        for nudge in self.nudges:
            nudge.set()

    def check(self, lease: Lease) -> None:
        if lease != (self.locked.get(lease.name) or self.locked_last.get(lease.name, lease)):
            raise LockHeldError(f"{lease.name} was taken by somebody else meanwhile")


class InMemoryRedis:
    """The server that several `InMemorySignal`s share."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_away = False
        self._pipelines: dict[str, _Pipeline] = defaultdict(_Pipeline)

    def away(self) -> None:
        """From now on every call of every client raises TransientError."""
        self._is_away = True

    def back(self) -> None:
        """Clients reach it again; each one's next `wait` is true."""
        self._is_away = False
        for pipeline in self._pipelines.values():
            pipeline.nudge()

    def wipe(self) -> None:
        """Forget everything, as a Redis without persistence does over a restart. Clients stay subscribed."""
        for pipeline in self._pipelines.values():
            pipeline.announced.clear()
            pipeline.statuses.clear()
            pipeline.locked.clear()
            pipeline.locked_last.clear()
            pipeline.runs.clear()

    def expire_leases(self) -> None:
        """As if all owners of locks were asleep for longer than their leases."""
        for pipeline in self._pipelines.values():
            pipeline.locked.clear()


class InMemorySignal:
    """Implements `ports.ModelSignal`: one client of an `InMemoryRedis`."""

    def __init__(self, redis: InMemoryRedis, pipeline: str = "default") -> None:
        self._redis = redis
        self._pipeline = redis._pipelines[pipeline]
        self._nudge: threading.Event | None = None

    def desired(self) -> Desired | None:
        pipeline = self._reached()
        return pipeline.announced[-1] if pipeline.announced and not pipeline.withdrawn else None

    def announce(self, desired: Desired, lease: Lease | None = None) -> None:
        pipeline = self._reached()
        if lease is not None:
            self.check(lease)
        pipeline.announced.append(desired)
        pipeline.withdrawn = False
        pipeline.nudge()

    def withdraw(self) -> None:
        pipeline = self._reached()
        pipeline.withdrawn = True
        pipeline.nudge()

    def replace(self, digest: str, desired: Desired) -> bool:
        now = self.desired()
        if (now.model.digest if now is not None else "") != digest:
            return False
        self.announce(desired)
        return True

    def subscribe(self) -> None:
        pipeline = self._reached()
        if self._nudge is None:
            self._nudge = threading.Event()
            pipeline.nudges.append(self._nudge)

    def wait(self, timeout_s: float) -> bool:
        self._reached()
        if self._nudge is None:
            self.subscribe()
            return True
        nudged = self._redis._clock.wait(self._nudge, timeout_s)
        self._reached()
        if nudged:
            self._nudge.clear()
        return nudged

    def report(self, status: WorkerStatus, expires_s: float) -> None:
        self._reached().statuses[status.worker] = (self._redis._clock.monotonic_s() + expires_s, status)

    def workers(self) -> list[WorkerStatus]:
        now_s = self._redis._clock.monotonic_s()
        statuses = self._reached().statuses
        return [status for _, (expires_s, status) in sorted(statuses.items()) if expires_s > now_s]

    def history(self, limit: int = 100) -> list[Desired]:
        return self._reached().announced[::-1][:limit]

    @contextmanager
    def lock(self, name: str, lease_s: float) -> Iterator[Lease]:
        """Held until it is left: owners in memory do not die, so `lease_s` has nothing to do."""
        pipeline = self._reached()
        if name in pipeline.locked:
            raise LockHeldError(f"{name} is locked by somebody else: wait until it has finished")
        lease = pipeline.locked[name] = pipeline.locked_last[name] = Lease(name, uuid.uuid4().hex)
        try:
            yield lease
            pipeline.check(lease)
        finally:
            if pipeline.locked.get(name) == lease:
                del pipeline.locked[name]

    def check(self, lease: Lease) -> None:
        self._reached().check(lease)

    def close(self) -> None:
        if self._nudge is not None:
            self._pipeline.nudges.remove(self._nudge)
            self._nudge = None

    def _reached(self) -> _Pipeline:
        if self._redis._is_away:
            raise TransientError("Redis is away")
        return self._pipeline


class InMemoryJobHistory:
    """Implements `ports.JobHistory`: one client of an `InMemoryRedis`; `kept` runs are remembered."""

    def __init__(self, redis: InMemoryRedis, pipeline: str = "default", kept: int = 500) -> None:
        self._redis = redis
        self._runs = redis._pipelines[pipeline].runs
        self._kept = kept

    def note(self, run: JobRun) -> None:
        self._check()
        self._runs[run.begun_ms, run.job] = run
        while len(self._runs) > self._kept:
            del self._runs[min(self._runs)]

    def runs(self, limit: int = 100) -> list[JobRun]:
        self._check()
        return [self._runs[key] for key in sorted(self._runs, reverse=True)][:limit]

    def _check(self) -> None:
        if self._redis._is_away:
            raise TransientError("Redis is away")
