"""The log of deployed versions in memory, for tests: `away()` makes its server unreachable, `back()` brings it back."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from stream_ae.errors import ModelError, TransientError
from stream_ae.ports import DeployedRun, Point
from stream_ae.records import ModelIdentity


@dataclass
class InMemoryRun:
    """What was written for one version."""

    version: ModelIdentity
    began_ms: int
    points: list[Point] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    in_service: bool = True
    deleted: bool = False

    def metric(self, name: str) -> list[float]:
        """Its curve."""
        return [point.metrics[name] for point in self.points if name in point.metrics]


class InMemoryRunLog:
    """Implements `ports.RunLog`; `runs` in the order in which they were opened first."""

    def __init__(self) -> None:
        self.runs: list[InMemoryRun] = []
        self._away = False

    def away(self) -> None:
        """From now on every call raises TransientError."""
        self._away = True

    def back(self) -> None:
        self._away = False

    def of(self, version: ModelIdentity) -> InMemoryRun:
        """The run of a version; KeyError if it has none."""
        for run in self.runs:
            if run.version.digest == version.digest and not run.deleted:
                return run
        raise KeyError(version.version)

    def open(self, version: ModelIdentity, at_ms: int) -> DeployedRun:
        self._check()
        try:
            run = self.of(version)
        except KeyError:
            run = InMemoryRun(version, at_ms)
            self.runs.append(run)
        run.in_service = True
        return DeployedRun(str(self.runs.index(run)), run.began_ms, dict(run.tags))

    def write(self, run: DeployedRun, points: Sequence[Point]) -> None:
        found = self._active(run)
        found.points += [point for point in points if point not in found.points]

    def tag(self, run: DeployedRun, name: str, value: str) -> None:
        tags = self._active(run).tags
        if value:
            tags[name] = value
        else:
            tags.pop(name, None)

    def picture(self, run: DeployedRun, name: str, png: bytes) -> None:
        self._active(run).pictures[name] = png

    def close(self, run: DeployedRun) -> None:
        self._active(run).in_service = False

    def _active(self, run: DeployedRun) -> InMemoryRun:
        self._check()
        found = self.runs[int(run.id)]
        if found.deleted:
            raise ModelError(f"run {run.id} is deleted")
        return found

    def _check(self) -> None:
        if self._away:
            raise TransientError("the run log is away")
