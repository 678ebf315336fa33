"""What is held of every stream between batches, and how a decoded batch meets it."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from stream_ae.flow.admission import Arrivals, Rules, admit, broken_blocks
from stream_ae.flow.age import Ages
from stream_ae.flow.chunk import Chunk
from stream_ae.flow.columns import Decoded, reject
from stream_ae.flow.grouping import grouped, grown
from stream_ae.flow.horizon import Horizon, depth_of
from stream_ae.flow.model import width_of
from stream_ae.flow.offsets import Progress, Rewind
from stream_ae.flow.profiles import Served
from stream_ae.flow.shadow import Shadows
from stream_ae.flow.streams import StreamTable
from stream_ae.flow.window import Ready, Windows
from stream_ae.records import Bool, Float32, Int32, Int64, RecordBatch

# Looking at every stream costs time in proportion to their number: done once in so many records, it stays cheap.
STREAMS_PER_RECORD = 16
# Kafka timestamps are any 64-bit number; within these bounds their differences do not overflow.
LARGEST_MS = 2**61


class Memory:
    """Windows, times and rewind offsets of all streams of the assigned partitions."""

    def __init__(self, served: Served, rules: Rules, close_after: int = 1) -> None:
        model = served.model
        self._rules = rules
        self._close_after = close_after
        self._served = served
        self._profile = np.zeros(0, np.int64)
        self._table = StreamTable()
        self._windows = Windows(width_of(model), model.window, model.lookahead)
        self._ages = Ages()
        self._horizon = Horizon(depth_of(model.window, close_after))
        self._shadows = Shadows()
        self._next_token = 0
        self._records_since_sweep = 0
        self._reserve()

    @property
    def streams(self) -> int:
        return len(self._table)

    @property
    def capacity(self) -> int:
        """Every slot is below this."""
        return self._table.capacity

    def take_in(
        self, records: RecordBatch, decoded: Decoded, partitions: Mapping[int, Progress], now_s: float
    ) -> tuple[Chunk, Ready]:
        """Refuse what runs backwards, remember the rest, give the windows that are complete now."""
        at_ms = _partition_times(records, partitions)
        decoded = reject(
            decoded, broken_blocks(decoded.samples.row.astype(np.int64), decoded.samples.timestamp_ms, self._rules)
        )
        samples = decoded.samples
        heads, of = _heads(samples.row)
        row = samples.row[heads].astype(np.int64)
        slot = self._table.slots_of(records.partition[row], samples.stream[heads], samples.streams)
        self._reserve()
        if self._served.profiled:
            self._profile[slot] = self._served.rows_of(samples.streams)[samples.stream[heads]]
        tails = np.append(heads[1:], len(samples))[: len(heads)] - 1
        arrivals = Arrivals(row, slot, at_ms[row], samples.timestamp_ms[heads], samples.timestamp_ms[tails])
        starts, refused = admit(arrivals, self._table, self._rules)
        since, since_ms = self._needed(arrivals, starts, {rejection.row for rejection in refused}, records, at_ms)
        self._table.taken_s[slot] = now_s
        slots, fresh = slot[of], np.zeros(len(samples), np.bool_)
        fresh[heads] = starts
        if refused:
            kept = ~np.isin(samples.row, [rejection.row for rejection in refused])
            decoded, slots, fresh = reject(decoded, refused), slots[kept], fresh[kept]
        chunk = self._chunk(records, decoded, slots, fresh, partitions)
        ready = self._windows.push(slots, fresh, decoded.samples.values, self._tokens(chunk))
        source = decoded.samples.row
        self._horizon.push(slots, fresh, since[source], since_ms[source])
        self._records_since_sweep += len(records)
        return chunk, ready

    def idle(self, now_s: float, idle_s: float) -> Int64:
        """Slots with samples that wait for newer ones, of which none has come for so long."""
        if not self._windows.lookahead:
            return np.empty(0, np.int64)
        waiting = self._windows.pending > 0
        return np.flatnonzero(waiting & (now_s - self._table.taken_s >= idle_s))

    def flush(self, slots: Int64) -> Ready:
        """Answer what is pending in these slots with what there is."""
        return self._windows.flush(slots)

    def sweep(self, partitions: Mapping[int, Progress]) -> Ready:
        """Note each partition's rewind offset as of now, and forget the streams that have been silent for too long.

        Gives the windows that those streams still owed.
        """
        if self._records_since_sweep * STREAMS_PER_RECORD < len(self._table):
            return self.flush(np.empty(0, np.int64))
        self._records_since_sweep = 0
        held = self._table.held()
        now_ms = _by_number(partitions, {number: progress.time_ms for number, progress in partitions.items()})
        silent = now_ms[self._table.partition[held]] - self._table.seen_ms[held] > self._rules.ttl_ms
        self._note_rewinds(held[~silent], partitions)
        expired = held[silent]
        owed = self.flush(expired)
        self._shadows.forget(expired)
        self._table.release(expired)
        return owed

    def forget(self, partitions: Collection[int]) -> None:
        """Drop every stream of these partitions."""
        slots = self._table.held_in(partitions)
        self._windows.forget(slots)
        self._shadows.forget(slots)
        self._table.release(slots)

    def pending(self) -> Int64:
        """Slots with samples that wait for newer ones."""
        return np.flatnonzero(self._windows.pending > 0)

    def profiles(self, slots: Int64) -> Int64:
        """The row of each slot's stream in what is served (`flow.profiles`); ask before the next batch is taken in."""
        return self._profile[slots]

    def adapt(self, served: Served) -> None:
        """Hold as much as this model needs; what is held stays as far as it reaches."""
        model = served.model
        self._served = served
        self._profile[:] = 0
        if served.profiled:
            held = self._table.held()
            self._profile[held] = served.rows_of(self._table.names(held))
        if (model.window, model.lookahead) == (self._windows.window, self._windows.lookahead):
            return
        self._windows = self._windows.adapt(model.window, model.lookahead)
        self._horizon = self._horizon.adapt(depth_of(model.window, self._close_after))

    def _chunk(
        self, records: RecordBatch, decoded: Decoded, slots: Int64, fresh: Bool, partitions: Mapping[int, Progress]
    ) -> Chunk:
        live_from = _by_number(partitions, {number: progress.live_from for number, progress in partitions.items()})
        live_to = _by_number(partitions, {number: progress.live_to for number, progress in partitions.items()})
        offset, partition = records.offset, records.partition
        waiting = (offset >= live_from[partition]) & (offset < live_to[partition])
        unanswered = np.bincount(decoded.samples.row, minlength=len(records))
        age = self._ages.push(slots, fresh)
        return Chunk(records, decoded, slots, fresh, age, self._next_token, waiting, unanswered, [self._served])

    def _needed(
        self, arrivals: Arrivals, fresh: Bool, refused: Collection[int], records: RecordBatch, at_ms: Int64
    ) -> tuple[Int64, Int64]:
        """(rows,) from which offset on the log must be read to admit each record, and the partition time there."""
        shadowed = self._shadows.cast(arrivals, fresh, refused, records.offset, self._horizon)
        if not shadowed:
            return records.offset, at_ms
        since, since_ms = records.offset.copy(), at_ms.copy()
        for row, rewind in shadowed.items():
            since[row], since_ms[row] = rewind.offset, rewind.time_ms
        return since, since_ms

    def _tokens(self, chunk: Chunk) -> Int64:
        self._next_token += chunk.samples
        return np.arange(chunk.first_token, self._next_token)

    def _note_rewinds(self, live: Int64, partitions: Mapping[int, Progress]) -> None:
        partition, offset = self._table.partition[live], self._horizon.offset(live)
        oldest = np.full(max(partitions, default=0) + 1, np.iinfo(np.int64).max)
        np.minimum.at(oldest, partition, offset)
        first = live[offset == oldest[partition]]
        at_ms = dict(zip(self._table.partition[first].tolist(), self._horizon.at_ms(first).tolist(), strict=True))
        for number, progress in partitions.items():
            if number in at_ms:
                progress.note(progress.read_to, Rewind(int(oldest[number]), at_ms[number]))
            else:
                progress.note(progress.read_to, Rewind(progress.read_to, progress.time_ms))

    def _reserve(self) -> None:
        self._windows.reserve(self._table.capacity)
        self._ages.reserve(self._table.capacity)
        self._horizon.reserve(self._table.capacity)
        self._profile = grown(self._profile, self._table.capacity)


def joined(parts: Sequence[Ready]) -> Ready:
    """Windows of one or more parts that are answered together."""
    filled = [part for part in parts if len(part)] or list(parts[:1])
    if len(filled) == 1:
        return filled[0]
    blocks: Sequence[Float32] = [part.windows.transpose(0, 2, 1) for part in filled]
    tokens, slots = np.concatenate([part.tokens for part in filled]), np.concatenate([part.slots for part in filled])
    return Ready(tokens, slots, np.concatenate(blocks).transpose(0, 2, 1))


def _partition_times(records: RecordBatch, partitions: Mapping[int, Progress]) -> Int64:
    """(rows,) partition time at each record; brings every partition's progress up to date."""
    at_ms = np.empty(len(records), np.int64)
    groups = grouped(records.partition.astype(np.int64))
    for number, first, count in zip(groups.slot.tolist(), groups.first.tolist(), groups.count.tolist(), strict=True):
        progress = partitions[number]
        rows = groups.order[first : first + count]
        progress.begin(int(records.offset[rows[0]]))
        running = np.minimum(np.maximum.accumulate(records.timestamp_ms[rows]), LARGEST_MS)
        at_ms[rows] = np.maximum(running, progress.time_ms)
        progress.time_ms = int(at_ms[rows[-1]])
        progress.read_to = int(records.offset[rows[-1]]) + 1
    return at_ms


def _heads(row: Int32) -> tuple[Int64, Int64]:
    """First sample of each record, and for each sample which of the records it belongs to."""
    begins = np.ones(len(row), np.bool_)
    np.not_equal(row[1:], row[:-1], out=begins[1:])
    return np.flatnonzero(begins), np.cumsum(begins) - 1


def _by_number(partitions: Mapping[int, Progress], column: Mapping[int, int]) -> Int64:
    """The column as an array that partition numbers index."""
    array = np.zeros(max(partitions, default=0) + 1, np.int64)
    array[list(column)] = list(column.values())
    return array
