"""Records leave in the order of their partition, each once, when all their samples have been answered."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from stream_ae.errors import TooManyDeadLetters
from stream_ae.flow.chunk import Chunk
from stream_ae.flow.decide import Decider, flagged
from stream_ae.flow.emission import Emission, Outputs
from stream_ae.flow.model import ServedModel
from stream_ae.records import Inference, Int64, Partition, Reason, RecordBatch, Rejection


class Outbox:
    """Chunks whose answers have begun to come, oldest first."""

    def __init__(self, emission: Emission, max_in_a_row: int) -> None:
        self._emission = emission
        self._max_in_a_row = max_in_a_row
        self._in_a_row = 0
        self._decider = Decider()
        self._chunks: deque[Chunk] = deque()

    @property
    def records(self) -> int:
        """Live records that wait for answers, their own or those of records before them."""
        return sum(int(np.count_nonzero(chunk.waiting)) for chunk in self._chunks)

    def add(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)

    def drop(self, partitions: Collection[int]) -> None:
        """Whatever waits here of these partitions will be answered by another worker."""
        for chunk in self._chunks:
            chunk.drop(partitions)

    def answer(
        self, tokens: Int64, inference: Inference, model: ServedModel, failed: Mapping[int, str], capacity: int
    ) -> None:
        """Hand each answer to the sample with its token; `failed` tells of answers that do not count, and why.

        Every slot is below `capacity`.
        """
        self._decider.reserve(capacity)
        flags = flagged(inference.score, model.threshold)
        flags[list(failed)] = False
        shares = list(self._by_chunk(tokens))
        # Samples of a partition that was revoked meanwhile may be gone: then nobody waits for their answers.
        slots, fresh = np.zeros(len(tokens), np.int64), np.ones(len(tokens), np.bool_)
        met = np.zeros(len(tokens), np.bool_)
        for chunk, picked in shares:
            samples = tokens[picked] - chunk.first_token
            slots[picked], fresh[picked], met[picked] = chunk.slots[samples], chunk.fresh[samples], True
        state = np.zeros(len(tokens), np.int8)
        state[met] = self._decider.states(slots[met], fresh[met], flags[met])
        for chunk, picked in shares:
            samples = tokens[picked] - chunk.first_token
            chunk.fill(samples, inference, picked, state, model)
            if failed:
                chunk.refuse({int(tokens[place]) - chunk.first_token: why for place, why in failed.items()})

    def leave(self) -> tuple[Outputs, dict[int, int]]:
        """Everything that may leave now, and for each partition the offset after its last record that does.

        Raises TooManyDeadLetters.
        """
        blocked: set[int] = set()
        parts: list[tuple[Chunk, Int64]] = []
        for chunk in self._chunks:
            rows = chunk.leaving(blocked)
            if len(rows):
                self._check_dead_letters(chunk, rows)
                parts.append((chunk, rows))
        while self._chunks and self._chunks[0].done:
            self._chunks.popleft()
        answered: dict[int, int] = {}
        for chunk, rows in parts:
            answered |= _ends(chunk.records, rows)
        return self._emission.of(parts), answered

    def _by_chunk(self, tokens: Int64) -> Sequence[tuple[Chunk, Int64]]:
        """Which answers belong to which chunk."""
        last = self._chunks[-1] if self._chunks else None
        if last is not None and len(tokens) and int(tokens.min()) >= last.first_token:
            return [(last, np.arange(len(tokens)))]
        first_tokens = np.array([chunk.first_token for chunk in self._chunks], np.int64)
        which = np.searchsorted(first_tokens, tokens, side="right") - 1
        return [(self._chunks[n], np.flatnonzero(which == n)) for n in np.unique(which).tolist() if n >= 0]

    def _check_dead_letters(self, chunk: Chunk, rows: Int64) -> None:
        """Count the broken records without a good one among those that leave, in their order."""
        leaving = set(rows.tolist()) if chunk.rejections else set()
        broken = [rejection for rejection in chunk.rejections if rejection.row in leaving]
        places = np.searchsorted(rows, [rejection.row for rejection in broken]).tolist()
        before = -1
        for place, rejection in zip(places, broken, strict=True):
            self._in_a_row = self._in_a_row + 1 if place == before + 1 else 1
            before = place
            if self._in_a_row > self._max_in_a_row:
                raise _too_many(self._in_a_row, chunk.records, rejection)
        if before + 1 < len(rows):
            self._in_a_row = 0


def _ends(records: RecordBatch, rows: Int64) -> dict[int, int]:
    partition, last = np.unique(records.partition[rows][::-1], return_index=True)
    ends = records.offset[rows][::-1][last] + 1
    return dict(zip(partition.tolist(), ends.tolist(), strict=True))


def _too_many(count: int, records: RecordBatch, last: Rejection) -> TooManyDeadLetters:
    where = Partition(records.topic, int(records.partition[last.row]))
    reason = Reason(last.reason)
    return TooManyDeadLetters(
        f"{count} records in a row could not be used, the last one at {where.topic}/{where.number}/"
        f"{int(records.offset[last.row])}: {reason.value}, {last.message}; if the format has changed, mend the sender "
        f"or the decode settings; if these records should go to the dead letters, raise dead_letters.max_in_a_row"
    )
