"""Records leave in the order of their partition, each once, when all their samples have been answered."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stream_ae.flow.chunk import Chunk
from stream_ae.flow.dead_letter_limits import DeadLetterLimits
from stream_ae.flow.decide import Decided, Decider, flagged
from stream_ae.flow.emission import Emission, Outputs
from stream_ae.flow.profiles import Served
from stream_ae.flow.tally import Tally
from stream_ae.flow.value_limits import ValueLimits, blamed
from stream_ae.records import Bool, Inference, Int64, RecordBatch


@dataclass(frozen=True, slots=True)
class Reached:
    """How far one partition is once what leaves has left: the offset after its last record, and the tally there."""

    offset: int
    tally: Tally


class Outbox:
    """Chunks whose answers have begun to come, oldest first."""

    def __init__(
        self, emission: Emission, limits: DeadLetterLimits, value_limits: ValueLimits, close_after: int = 1
    ) -> None:
        self._emission = emission
        self._limits = limits
        self._value_limits = value_limits
        self._decider = Decider(close_after)
        self._chunks: deque[Chunk] = deque()
        self._held_records = 0
        self._held_bytes = 0

    @property
    def held(self) -> tuple[int, int]:
        """Records and bytes in memory here; a chunk goes when the last of its records does."""
        return self._held_records, self._held_bytes

    @property
    def records(self) -> int:
        """Live records that wait for answers, their own or those of records before them."""
        return sum(int(np.count_nonzero(chunk.waiting)) for chunk in self._chunks)

    def add(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        self._held_records += len(chunk.records)
        self._held_bytes += chunk.size_bytes

    def drop(self, partitions: Collection[int]) -> None:
        """Whatever waits here of these partitions will be answered by another worker."""
        for chunk in self._chunks:
            chunk.drop(partitions)
        self._let_go()

    def answer(
        self,
        tokens: Int64,
        inference: Inference,
        said_by: tuple[Served, Int64],
        failed: Mapping[int, str],
        capacity: int,
    ) -> None:
        """Hand each answer to the sample with its token; `failed` tells of answers that do not count, and why.

        said_by: what answered, and the row of it that each sample's stream has. Every slot is below `capacity`.
        """
        self._decider.reserve(capacity)
        served, profile = said_by
        unanswered = np.zeros(len(tokens), np.bool_)
        unanswered[list(failed)] = True
        shares = list(self._by_chunk(tokens))
        # Samples of a partition that was revoked meanwhile may be gone: then nobody waits for their answers.
        slots, age = np.zeros(len(tokens), np.int64), np.zeros(len(tokens), np.int64)
        fresh, met = np.ones(len(tokens), np.bool_), np.zeros(len(tokens), np.bool_)
        for chunk, picked in shares:
            samples = tokens[picked] - chunk.first_token
            slots[picked], fresh[picked], met[picked] = chunk.slots[samples], chunk.fresh[samples], True
            age[picked] = chunk.age[samples]
        threshold = served.held_against(profile, age)
        flags = flagged(inference.score, threshold)
        inference = self._bounded(inference, flags, tokens, shares)
        state = np.zeros(len(tokens), np.int8)
        state[met] = self._decider.states_without(unanswered[met], slots[met], fresh[met], flags[met])
        for chunk, picked in shares:
            samples = tokens[picked] - chunk.first_token
            chunk.fill(samples, inference, picked, Decided(state, threshold), served, profile)
            if failed:
                chunk.refuse({int(tokens[place]) - chunk.first_token: why for place, why in failed.items()})

    def leave(self, tallies: Mapping[int, Tally]) -> tuple[Outputs, dict[int, Reached]]:
        """Everything that may leave now, and how far that brings the partitions that it is of.

        tallies: of every partition, as of what has left before.
        Raises TooManyDeadLetters.
        """
        tallies = dict(tallies)
        blocked: set[int] = set()
        parts: list[tuple[Chunk, Int64]] = []
        for chunk in self._chunks:
            rows = chunk.leaving(blocked)
            if len(rows):
                tallies |= self._limits.counted(chunk, rows, tallies)
                parts.append((chunk, rows))
        self._let_go()
        ends: dict[int, int] = {}
        for chunk, rows in parts:
            ends |= _ends(chunk.records, rows)
        return self._emission.of(parts), {number: Reached(end, tallies[number]) for number, end in ends.items()}

    def _bounded(
        self, inference: Inference, flags: Bool, tokens: Int64, shares: Sequence[tuple[Chunk, Int64]]
    ) -> Inference:
        """Flag the samples with a value outside its limits, and have their shares point at it."""
        if not self._value_limits.there:
            return inference
        outside = np.zeros(inference.share.shape, np.bool_)
        for chunk, picked in shares:
            values = chunk.decoded.samples.values[tokens[picked] - chunk.first_token]
            outside[picked] = self._value_limits.outside(values)
        flags |= outside.any(1)
        return replace(inference, share=blamed(inference.share, outside))

    def _let_go(self) -> None:
        """Of the chunks that are done; else what nobody waits for could count as held until there is another answer."""
        while self._chunks and self._chunks[0].done:
            gone = self._chunks.popleft()
            self._held_records -= len(gone.records)
            self._held_bytes -= gone.size_bytes

    def _by_chunk(self, tokens: Int64) -> Sequence[tuple[Chunk, Int64]]:
        """Which answers belong to which chunk."""
        last = self._chunks[-1] if self._chunks else None
        if last is not None and len(tokens) and int(tokens.min()) >= last.first_token:
            return [(last, np.arange(len(tokens)))]
        first_tokens = np.array([chunk.first_token for chunk in self._chunks], np.int64)
        which = np.searchsorted(first_tokens, tokens, side="right") - 1
        return [(self._chunks[n], np.flatnonzero(which == n)) for n in np.unique(which).tolist() if n >= 0]


def _ends(records: RecordBatch, rows: Int64) -> dict[int, int]:
    partition, last = np.unique(records.partition[rows][::-1], return_index=True)
    ends = records.offset[rows][::-1][last] + 1
    return dict(zip(partition.tolist(), ends.tolist(), strict=True))
