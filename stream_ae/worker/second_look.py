"""Whether records wait that the worker is not given: a Kafka client that hangs does not know of them itself."""

import threading
from collections.abc import Callable, Mapping

from stream_ae.clock import Clock
from stream_ae.errors import ConfigError, TransientError
from stream_ae.ports import OffsetRange, RecordReader
from stream_ae.records import Partition
from stream_ae.telemetry import Log
from stream_ae.worker.progress import Progress, Stage

log = Log("worker.second_look")


class SecondLook:
    """While nothing is fetched, reads on from where the worker is, with a client of its own.

    Offsets alone prove nothing: behind the last record a transaction leaves a marker, and compaction leaves gaps.
    """

    def __init__(self, progress: Progress, topic: str, opened: Callable[[], RecordReader]) -> None:
        self._progress = progress
        self._topic = topic
        self._opened = opened
        self._reader: RecordReader | None = None
        self._before: Mapping[Partition, int] = {}

    def run(self, clock: Clock, stop: threading.Event, every_s: float) -> None:
        """The thread's life: until `stop` is set."""
        try:
            while not clock.wait(stop, every_s):
                self.look()
        finally:
            self.close()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def look(self) -> None:
        """Note whether fetching owes records: none have come since the last look, and there are some."""
        before, self._before = self._before, self._progress.reached
        # While the device works, records rightly wait.
        if self._before != before or self._progress.calling(Stage.MODEL):
            self._progress.done(Stage.FETCH)
            return
        try:
            waiting = bool(before) and self._holds_records_beyond(before)
        except (TransientError, ConfigError) as error:
            # Brokers that are away, or a topic that is gone, are told of by those who poll.
            log.debug("brokers not asked", reason=str(error))
            return
        if waiting:
            self._progress.owed(Stage.FETCH)
        else:
            self._progress.done(Stage.FETCH)

    def _holds_records_beyond(self, reached: Mapping[Partition, int]) -> bool:
        if self._reader is None:
            self._reader = self._opened()
        unread = [
            OffsetRange(there.partition, max(there.begin, reached[there.partition]), there.end)
            for there in self._reader.ranges(self._topic)
            if there.partition in reached and reached[there.partition] < there.end
        ]
        return any(len(records) for records in self._reader.read(unread, max_records=1))
