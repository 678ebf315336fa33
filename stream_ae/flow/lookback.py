"""From where the log must be read so that a span that begins anywhere is answered as by workers that never stopped."""

from stream_ae.flow.admission import Rules
from stream_ae.flow.codecs import codec_of
from stream_ae.flow.memory import Memory
from stream_ae.flow.model import ServedModel, fitting
from stream_ae.flow.offsets import Progress, Rewind, rewind_of
from stream_ae.flow.profiles import Served
from stream_ae.records import RecordBatch
from stream_ae.settings import Settings


class Lookback:
    """Takes up the records of one partition before a span, and knows what a worker would commit at the end of them.

    The model is not asked: which samples are needed depends on the records alone. What it says is right if reading
    began early enough, see `reaches`.
    """

    def __init__(self, model: ServedModel, settings: Settings, partition: int) -> None:
        self._rules = Rules.of(settings)
        self._codec = codec_of(model, settings)
        self._memory = Memory(Served(model), self._rules, settings.decide.close_after)
        self._partition = partition
        self._progress = Progress.assigned(None)
        self.at_once = fitting(model, settings.batch)
        """Records of one batch."""

    def take(self, records: RecordBatch) -> None:
        """Records of the partition, in their order."""
        partitions = {self._partition: self._progress}
        self._memory.take_in(records, self._codec.decode(records), partitions, now_s=0.0)
        self._memory.sweep(partitions)
        self._progress.answered = self._progress.read_to

    def rewind(self) -> Rewind | None:
        """From where on the log is needed, and the partition time there; None if there was no record."""
        return rewind_of(self._progress.position()) if self._progress.begun else None

    def reaches(self, rewind: Rewind, since_ms: int) -> bool:
        """Whether reading from the first record of this Kafka time on was early enough.

        What is needed lies later by more than a stream lives: so a stream of which the first record came then begins
        there in truth, and one that was met in the middle, where late records may be taken for the newest ones, has
        had as long to come right.
        """
        return rewind.time_ms - since_ms > self._rules.ttl_ms

    def close(self) -> None:
        self._codec.close()
