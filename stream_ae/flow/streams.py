"""Which slot holds which stream, and what the flow knows of each besides its samples."""

from collections.abc import Iterable, Sequence

import numpy as np

from stream_ae.flow.grouping import grown
from stream_ae.records import Bool, Float64, Int32, Int64

FREE = -1
FIRST_CAPACITY = 64


class StreamTable:
    """Slots for the streams of the assigned partitions; freed ones are used again, so that memory follows use.

    A stream is a name within a partition. Columns have one entry a slot:

    partition:  its number, FREE where the slot holds no stream.
    known:      a record of it has been admitted; the next columns mean something.
    last_ms:    timestamp of its newest admitted sample.
    seen_ms:    partition time at its newest record, admitted or refused.
    taken_s:    when its newest record was taken up, by the worker's clock.
    """

    def __init__(self) -> None:
        self.partition: Int32 = np.full(FIRST_CAPACITY, FREE, np.int32)
        self.known: Bool = np.zeros(FIRST_CAPACITY, np.bool_)
        self.last_ms: Int64 = np.zeros(FIRST_CAPACITY, np.int64)
        self.seen_ms: Int64 = np.zeros(FIRST_CAPACITY, np.int64)
        self.taken_s: Float64 = np.zeros(FIRST_CAPACITY, np.float64)
        self._name: list[str] = [""] * FIRST_CAPACITY
        self._free = list(range(FIRST_CAPACITY - 1, -1, -1))
        self._slots: dict[int, dict[str, int]] = {}

    def __len__(self) -> int:
        return self.capacity - len(self._free)

    @property
    def capacity(self) -> int:
        """Every slot is below this; it only grows."""
        return len(self.partition)

    def slots_of(self, partition: Int32, stream: Int32, streams: Sequence[str]) -> Int64:
        """(N,) the slot of each record's stream; streams not met before get one."""
        keys, which = np.unique(partition.astype(np.int64) * len(streams) + stream, return_inverse=True)
        partitions = (keys // max(len(streams), 1)).tolist()
        names = [streams[code] for code in (keys % max(len(streams), 1)).tolist()]
        for number in set(partitions):
            self._slots.setdefault(number, {})
        tables = self._slots
        slots = [tables[number].get(name, FREE) for number, name in zip(partitions, names, strict=True)]
        if FREE in slots:
            for place, slot in enumerate(slots):
                if slot == FREE:
                    slots[place] = self._allocate(partitions[place], names[place])
        return np.array(slots, np.int64)[which]

    def held(self) -> Int64:
        """Every slot that holds a stream."""
        return np.flatnonzero(self.partition != FREE)

    def held_in(self, partitions: Iterable[int]) -> Int64:
        """Every slot that holds a stream of these partitions."""
        return np.flatnonzero(np.isin(self.partition, list(partitions)))

    def names(self, slots: Int64) -> list[str]:
        """The streams that these slots hold."""
        return [self._name[slot] for slot in slots.tolist()]

    def release(self, slots: Int64) -> None:
        """Forget these streams."""
        for slot, number in zip(slots.tolist(), self.partition[slots].tolist(), strict=True):
            del self._slots[number][self._name[slot]]
            self._name[slot] = ""
        self._free.extend(slots.tolist())
        self.partition[slots] = FREE
        self.known[slots] = False

    def _allocate(self, partition: int, name: str) -> int:
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self.partition[slot] = partition
        self._name[slot] = name
        self._slots[partition][name] = slot
        return slot

    def _grow(self) -> None:
        held = self.capacity
        self._free.extend(range(2 * held - 1, held - 1, -1))
        self._name.extend([""] * held)
        self.partition = grown(self.partition, 2 * held)
        self.partition[held:] = FREE
        self.known = grown(self.known, 2 * held)
        self.last_ms = grown(self.last_ms, 2 * held)
        self.seen_ms = grown(self.seen_ms, 2 * held)
        self.taken_s = grown(self.taken_s, 2 * held)
