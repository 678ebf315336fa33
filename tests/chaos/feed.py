"""Known input sent steadily while things break."""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import numpy as np

from stream_ae.kafka.driver import open_sink
from stream_ae.records import OutgoingBatch
from stream_ae.settings import Settings
from tests.chaos.known import KnownPartition
from tests.chaos.known_frames import KnownFrames
from tests.end_to_end.world import CLOCK

AT_ONCE = 10
EVERY_S = 0.1
# Longer than any fault: what was sent once is in the raw topic once.
DELIVERY_TIMEOUT_S = 90.0
# Brokers remember a producer for a day after the newest time in its records, and one that has crashed could otherwise
# not tell a batch that is sent again from a new one: the raw topic would not be what was sent.
AGE_MS = 12 * 3_600_000


class Feed:
    """Sends to each partition, a hundred records a second, until it is stopped or the block ends."""

    def __init__(self, settings: Settings, partitions: int, seed: int) -> None:
        start_ms = CLOCK.wall_ms() - AGE_MS
        kind = KnownFrames if settings.decode.records == "images" else KnownPartition
        self.partitions: Mapping[int, KnownPartition] = {
            number: kind(number, seed, start_ms) for number in range(partitions)
        }
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed")
        self._error: Exception | None = None

    def sent(self) -> dict[int, int]:
        """Records of each partition so far."""
        return {number: len(partition.records) for number, partition in self.partitions.items()}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def stop(self) -> None:
        """Send no more; returns when all of it has arrived."""
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        kafka = self._settings.kafka.model_copy(update={"delivery_timeout_s": DELIVERY_TIMEOUT_S})
        sink = open_sink(kafka)
        try:
            while not CLOCK.wait(self._stop, EVERY_S):
                for number, partition in self.partitions.items():
                    sink.produce(_batch(self._settings.topics.raw, number, partition))
            sink.flush(DELIVERY_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001  raised again where the block ends
            self._error = error
        finally:
            sink.close()


def _batch(topic: str, number: int, partition: KnownPartition) -> OutgoingBatch:
    records = partition.more(AT_ONCE)
    return OutgoingBatch(
        topic,
        np.full(AT_ONCE, number, np.int32),
        np.array([record.kafka_ms for record in records], np.int64),
        [None] * AT_ONCE,
        [record.value for record in records],
        [record.headers for record in records],
    )
