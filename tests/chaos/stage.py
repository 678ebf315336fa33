"""Where a fault strikes: servers, workers and a feed, and what a fault may ask of them."""

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_ae.errors import StreamAEError, TransientError
from stream_ae.kafka.admin import group_lag
from stream_ae.kafka.driver import open_reader
from stream_ae.localdev.stack import Stack
from stream_ae.records import ModelVersion
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import KafkaSettings
from stream_ae.status import Health
from tests.chaos.feed import Feed
from tests.chaos.fleet import Fleet
from tests.end_to_end.world import CLOCK, PipelineOnServers, eventually

ASK_EVERY_S = 0.25
# The brokers may be away: then it is asked again.
ANSWER_WITHIN_S = 2.0


class Group:
    """What a consumer group has committed, by a client that stays: a new one for each question would be most of what a
    round costs."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._consumer = Consumer({"bootstrap.servers": settings.bootstrap_servers, "group.id": settings.group_id})

    def committed(self, topic: str, numbers: Sequence[int]) -> dict[int, int]:
        """The committed offset of each of these partitions, 0 = none; TransientError while no broker answers."""
        try:
            found = self._consumer.committed([TopicPartition(topic, n) for n in numbers], timeout=ANSWER_WITHIN_S)
        except KafkaException as error:
            raise TransientError(f"committed offsets cannot be read: {error}") from error
        failed = [each.error for each in found if each.error is not None]
        if failed:
            raise TransientError(f"committed offsets cannot be read: {failed[0]}")
        return {each.partition: max(each.offset, 0) for each in found}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._consumer.close()


@dataclass(frozen=True, slots=True)
class Stage:
    """One round's world. `versions`: two registered ones, of which the first is in service when the fault strikes."""

    pipeline: PipelineOnServers
    stack: Stack
    fleet: Fleet
    feed: Feed
    group: Group
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

    def await_committed(self, marks: dict[int, int], what: str) -> None:
        def answered() -> bool:
            committed = self.group.committed(self.pipeline.settings.topics.raw, list(marks))
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
