"""A consumer of the cleaned topic, as a user would write one: it notes when each record arrives."""

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from stream_ae.clock import Clock
from stream_ae.errors import StreamAEError, TransientError
from stream_ae.flow.headers import FLAG, header_text
from stream_ae.kafka.driver import open_source
from stream_ae.records import Float64, Partition, Position, RecordBatch
from stream_ae.settings import Settings

POLL_S = 0.1
MAX_RECORDS = 500


class Subscriber:
    """Reads the cleaned topic on a thread of its own, in a group of its own, committing nothing.

    A cleaned record carries the Kafka time of its raw record, so arrival minus that time is the whole way: producer,
    broker, worker, broker, consumer, by the clock of one machine.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._topic = settings.topics.cleaned
        kafka = settings.kafka.model_copy(update={"group_id": f"{settings.kafka.group_id}-subscriber"})
        self._source = open_source(kafka, clock)
        self._clock = clock
        self._stop = threading.Event()
        self._latency_ms: list[Float64] = []
        self._sent_ms: list[Float64] = []
        self._error: StreamAEError | None = None
        self.records = 0
        self.flagged = 0
        self._thread = threading.Thread(target=self._run, name="subscriber")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Raises what ended the thread, if anything did."""
        if self._error is not None:
            raise TransientError(f"the demo's subscriber stopped reading: {self._error}") from self._error

    def latencies_ms(self, since_ms: int) -> Float64:
        """Of every record whose raw record was sent at `since_ms` or later."""
        latency, sent = (np.concatenate([np.empty(0), *parts]) for parts in (self._latency_ms, self._sent_ms))
        return latency[sent >= since_ms]

    def _run(self) -> None:
        try:
            self._source.subscribe(self._topic, _FromTheStart())
            while not self._stop.is_set():
                batch = self._source.poll(MAX_RECORDS, POLL_S)
                if len(batch):
                    self._note(batch, self._clock.wall_ms())
        except StreamAEError as error:
            self._error = error
        finally:
            self._source.close()

    def _note(self, batch: RecordBatch, now_ms: int) -> None:
        sent = batch.timestamp_ms.astype(np.float64)
        self._sent_ms.append(sent)
        self._latency_ms.append(now_ms - sent)
        self.records += len(batch)
        self.flagged += sum(header_text(headers, FLAG) == "1" for headers in batch.headers)


class _FromTheStart:
    """Keeps no state, so nothing has to be done when partitions come and go."""

    def on_assigned(self, committed: Mapping[Partition, Position | None]) -> Mapping[Partition, int]:
        return {}

    def on_revoked(self, partitions: Sequence[Partition]) -> None:
        """Nothing to commit."""

    def on_lost(self, partitions: Sequence[Partition]) -> None:
        """Nothing to forget."""
