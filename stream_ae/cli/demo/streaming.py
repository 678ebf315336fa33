"""The live part: the labelled test data as a stream, while version 2 is trained and swapped in."""

import threading
from dataclasses import dataclass

from stream_ae.cli.demo.material import Material
from stream_ae.cli.demo.screen import Step
from stream_ae.cli.demo.subscriber import Subscriber
from stream_ae.cli.demo.world import World
from stream_ae.localdev.broken import broken_records
from stream_ae.localdev.child import Child
from stream_ae.localdev.replay import batches, paced, size_for
from stream_ae.ports import RecordSink

# Shares of the test part: when the second retraining starts, when broken records come, what waits for version 2.
RETRAIN_AT, BREAK_AT, HOLD_AT = 0.10, 0.50, 0.85
# While it waits, a share of what is left is sent each second: the swap happens under load, however long training takes.
LEFT_FOR_S, SLOWEST = 120.0, 0.2
# Records at once: a fraction of a tick's, so that a trickle comes evenly.
TICK_SHARE = 8
SHOW_EVERY_S = 0.25
SWAP_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What the stream runs through: records in, workers, answers out."""

    sink: RecordSink
    workers: list[Child]
    subscriber: Subscriber


class Stream:
    """One replay of the test part. `run` returns when everything is sent and every worker runs version 2."""

    def __init__(self, world: World, material: Material, pipeline: Pipeline, rate: float) -> None:
        self._world = world
        self._material = material
        self._pipeline = pipeline
        self._rate = rate
        self._total = material.test_records
        self._sent = 0
        self._first_digest = self._desired_digest()
        self._retraining: Child | None = None
        self._broken = False
        self._reload_s: float | None = None
        self._shown_s = 0.0

    def run(self, step: Step) -> float:
        """Send everything. Returns how long the slowest worker took from announcement to first batch on version 2."""
        topic = self._world.settings.topics.raw
        outgoing = batches(self._material.test, topic, max(size_for(self._rate) // TICK_SHARE, 1))
        for batch in paced(outgoing, self._rate_now, self._world.clock, threading.Event()):
            self._pipeline.sink.produce(batch)
            self._sent += len(batch)
            self._at_their_time(topic)
            self._look(step)
        self._pipeline.sink.flush(self._world.settings.kafka.delivery_timeout_s)
        self._world.wait_until(lambda: self._swapped() is not None, "the swap to version 2", SWAP_TIMEOUT_S)
        return self._reload_s or 0.0

    def _rate_now(self) -> float:
        if self._reload_s is None and self._sent >= HOLD_AT * self._total:
            return min(self._rate, max((self._total - self._sent) / LEFT_FOR_S, SLOWEST))
        return self._rate

    def _at_their_time(self, topic: str) -> None:
        if self._retraining is None and self._sent >= RETRAIN_AT * self._total:
            self._retraining = self._world.spawn("retrain-2", ["retrain"])
        if not self._broken and self._sent >= BREAK_AT * self._total:
            machine = self._material.machines[0]
            now_ms = self._world.clock.wall_ms()
            self._pipeline.sink.produce(broken_records(topic, machine.channels, machine.name, now_ms))
            self._broken = True

    def _look(self, step: Step) -> None:
        """Now and then: see that everybody is alive, whether the swap has happened, and tell the person watching."""
        now_s = self._world.clock.monotonic_s()
        if now_s - self._shown_s < SHOW_EVERY_S:
            return
        self._shown_s = now_s
        for child in self._pipeline.workers:
            child.check_running()
        self._pipeline.subscriber.check()
        self._swapped()
        subscriber = self._pipeline.subscriber
        step.show(
            f"streaming at {self._rate_now():.0f}/s  cleaned {subscriber.records:,}  flagged {subscriber.flagged:,}  "
            f"{self._training_says()}",
            self._sent,
        )

    def _training_says(self) -> str:
        if self._reload_s is not None:
            return f"version 2 in service after {self._reload_s:.2f} s"
        return "version 1" if self._retraining is None else "version 1, training version 2"

    def _swapped(self) -> float | None:
        """From the announcement of version 2 to the slowest worker's first batch on it; None until all are there.

        A worker whose partitions hold no stream never has a batch to answer; of it only the swap is asked.
        """
        if self._reload_s is None and self._retraining is not None:
            self._retraining.check_done()
            desired, workers = self._world.signal.desired(), self._world.workers()
            if desired is not None and desired.model.digest != self._first_digest:
                on_it = [worker for worker in workers if worker.model == desired.model]
                answered = [worker.first_batch_ms for worker in on_it if worker.records]
                if len(on_it) == len(self._pipeline.workers) and answered and all(answered):
                    self._reload_s = (max(answered) - desired.announced_ms) / 1000
        return self._reload_s

    def _desired_digest(self) -> str:
        desired = self._world.signal.desired()
        return "" if desired is None else desired.model.digest
