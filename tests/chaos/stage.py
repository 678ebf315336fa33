"""Where a fault strikes: servers, workers and a feed, and what a fault may ask of them."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stream_ae.errors import StreamAEError
from stream_ae.kafka.admin import group_lag
from stream_ae.kafka.driver import open_reader
from stream_ae.localdev.stack import Stack
from stream_ae.ports import Health
from stream_ae.records import ModelVersion
from stream_ae.registry.store import MlflowStore
from tests.chaos.feed import Feed
from tests.chaos.fleet import Fleet
from tests.end_to_end.world import CLOCK, PipelineOnServers, eventually

# Asking takes two new clients: more often, and the asking would be most of what a round costs.
ASK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Stage:
    """One round's world. `versions`: two registered ones, of which the first is in service when the fault strikes."""

    pipeline: PipelineOnServers
    stack: Stack
    fleet: Fleet
    feed: Feed
    versions: tuple[ModelVersion, ModelVersion]
    dice: random.Random
    folder: Path

    @property
    def store(self) -> MlflowStore:
        return self.pipeline.store

    def wait(self, shortest_s: float, longest_s: float | None = None) -> None:
        """A fault's duration, or a random one."""
        duration_s = shortest_s if longest_s is None else self.dice.uniform(shortest_s, longest_s)
        CLOCK.wait(threading.Event(), duration_s)

    def publish(self, version: ModelVersion) -> None:
        """Promote and announce."""
        self.store.promote(version.version)
        self.pipeline.announce(version)

    def await_running(self, count: int, version: ModelVersion | None = None) -> None:
        """Until so many workers answer records, all of them with this version if one is named."""

        def come_up() -> bool:
            running = [w for w in self.pipeline.status() if w.health in (Health.RUNNING, Health.DEGRADED)]
            on_it = [
                w for w in running if version is None or (w.model is not None and w.model.digest == version.digest)
            ]
            return len(on_it) >= count and len(on_it) == len(running)

        eventually(patient(come_up), f"{count} workers run")

    def committed(self) -> dict[int, int]:
        """How far the group has committed each partition, at least."""
        topic = self.pipeline.settings.topics.raw
        reader = open_reader(self.pipeline.settings.kafka)
        try:
            ends = {each.partition: each.end for each in reader.ranges(topic)}
        finally:
            reader.close()
        # The ends are looked up before the lag: with records still coming in, end - lag is never beyond the commit.
        lag = group_lag(self.pipeline.settings.kafka, topic)
        return {partition.number: end - lag[partition] for partition, end in ends.items()}

    def await_committed(self, marks: dict[int, int], what: str) -> None:
        def answered() -> bool:
            committed = self.committed()
            return all(committed[number] >= mark for number, mark in marks.items())

        eventually(patient(answered), what, 120.0, ASK_EVERY_S)

    def await_visible(self) -> None:
        """Until readers of committed records see all that the output topics hold now.

        What a dead worker's transaction left open hides everything behind it until somebody aborts it.
        """
        topics = self.pipeline.settings.topics
        names = (topics.cleaned, topics.flagged, topics.dead_letters)
        # Nobody has committed anything for this group, so all that there is is its lag, committed or not.
        everyone = self.pipeline.settings.kafka.model_copy(update={"group_id": f"{topics.raw}-nobody"})
        held = {name: sum(group_lag(everyone, name).values()) for name in names}

        def seen() -> bool:
            reader = open_reader(self.pipeline.settings.kafka)
            try:
                return all(sum(r.end - r.begin for r in reader.ranges(name)) >= held[name] for name in names)
            finally:
                reader.close()

        eventually(patient(seen), "all outputs are visible to readers of committed records", 120.0, ASK_EVERY_S)


def patient(condition: Callable[[], bool]) -> Callable[[], bool]:
    """The condition, false while a server that it asks is away."""

    def asked() -> bool:
        try:
            return condition()
        except StreamAEError:
            return False

    return asked
