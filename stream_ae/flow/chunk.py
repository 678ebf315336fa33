"""One taken batch until all its records have left: what came in, what the model said, what still waits."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from stream_ae.flow.columns import Decoded
from stream_ae.flow.decide import Decided, States
from stream_ae.flow.profiles import Served
from stream_ae.records import Bool, Float32, Float64, Inference, Int32, Int64, Reason, RecordBatch, Rejection


@dataclass(frozen=True, slots=True)
class Answered:
    """Row i is about sample i of the chunk; `served` is the index into what the chunk was served by, `profile` a row
    of that, `threshold` what the score was held against. Axes as in `Inference`.

    codes:  by the index of what served, where models give them; NaN for samples that another one answered.
    """

    x_hat: Float32
    score: Float64
    p_value: Float64
    share: Float32
    expected: Float32
    threshold: Float64
    state: States
    served: Int32
    profile: Int64
    codes: dict[int, Float32] = field(default_factory=dict)

    @classmethod
    def of(cls, inference: Inference, decided: Decided, served: int, profile: Int64) -> "Answered":
        """One model answered all samples at once."""
        by, said = np.full(len(inference), served, np.int32), inference
        codes = {served: said.code} if said.code is not None else {}
        answers = said.x_hat, said.score, said.p_value, said.share, said.compared
        return cls(*answers, decided.threshold, decided.state, by, profile, codes)

    @classmethod
    def none_yet(cls, samples: int, channels: int) -> "Answered":
        shape = (samples, channels)
        x_hat, share, expected = (np.zeros(shape, np.float32) for _ in range(3))
        score, p_value, threshold = (np.zeros(samples, np.float64) for _ in range(3))
        state, served, profile = np.zeros(samples, np.int8), np.zeros(samples, np.int32), np.zeros(samples, np.int64)
        return cls(x_hat, score, p_value, share, expected, threshold, state, served, profile)


@dataclass(slots=True)
class Chunk:
    """A taken batch. Sample i has the token `first_token + i`, by which its answer finds it.

    slots, fresh:  (N,) of each sample.
    age:           (N,) samples of its stream before each, see `flow.age`.
    waiting:       (rows,) live records that have not left yet.
    unanswered:    (rows,) samples of each record that the model has not answered yet.
    served:        what it was taken for, then anything later that answered some of it.
    refused:       records that the model failed on, beside those that `decoded` rejects.
    size_bytes:    keys and values of the records.
    """

    records: RecordBatch
    decoded: Decoded
    slots: Int64
    fresh: Bool
    age: Int64
    first_token: int
    waiting: Bool
    unanswered: Int64
    served: list[Served]
    answers: Answered | None = None
    refused: list[Rejection] = field(default_factory=list)
    partitions: frozenset[int] = frozenset()
    size_bytes: int = 0

    def __post_init__(self) -> None:
        self._count_partitions()

    @property
    def samples(self) -> int:
        return len(self.slots)

    @property
    def done(self) -> bool:
        """Nothing waits to leave, and no answer is on its way."""
        return not self.partitions and not bool((self.unanswered > 0).any())

    @property
    def rejections(self) -> list[Rejection]:
        """All records of the chunk that cannot be used, in row order."""
        if not self.refused:
            return self.decoded.rejections
        return sorted([*self.decoded.rejections, *self.refused], key=lambda rejection: rejection.row)

    def fill(
        self, samples: Int64, inference: Inference, picked: Int64, decided: Decided, served: Served, profile: Int64
    ) -> None:
        """Note the answers `picked` from an inference for some of the samples; `profile` as in `Answered`."""
        number = self._number_of(served)
        if len(samples) == self.samples == len(inference) and bool((samples[1:] > samples[:-1]).all()):
            self.answers = Answered.of(inference, decided, number, profile)
            self.unanswered[:] = 0
            return
        if self.answers is None:
            self.answers = Answered.none_yet(self.samples, inference.x_hat.shape[1])
        self.answers.x_hat[samples] = inference.x_hat[picked]
        self.answers.score[samples] = inference.score[picked]
        self.answers.p_value[samples] = inference.p_value[picked]
        self.answers.share[samples] = inference.share[picked]
        self.answers.expected[samples] = inference.compared[picked]
        self.answers.threshold[samples] = decided.threshold[picked]
        self.answers.state[samples] = decided.state[picked]
        self.answers.served[samples] = number
        self.answers.profile[samples] = profile[picked]
        if inference.code is not None:
            if number not in self.answers.codes:
                shape = (self.samples, inference.code.shape[1])
                self.answers.codes[number] = np.full(shape, np.nan, np.float32)
            self.answers.codes[number][samples] = inference.code[picked]
        self.unanswered -= np.bincount(self.decoded.samples.row[samples], minlength=len(self.unanswered))

    def refuse(self, failed: Mapping[int, str]) -> None:
        """The model failed on these samples: their records become dead letters. Samples of other chunks are ignored."""
        already = {rejection.row for rejection in self.refused}
        for sample, why in failed.items():
            row = int(self.decoded.samples.row[sample]) if 0 <= sample < self.samples else -1
            if row >= 0 and row not in already:
                self.refused.append(Rejection(row, Reason.MODEL_FAILED, why))
                already.add(row)

    def leaving(self, blocked: set[int]) -> Int64:
        """Rows that leave now, ascending: answered, and after nothing of their partition that is not.

        `blocked` are partitions in which an earlier chunk holds a record back; those that this one blocks are added.
        """
        if self.partitions <= blocked:
            return np.empty(0, np.int64)
        held = np.flatnonzero(self.waiting & (self.unanswered > 0))
        if not blocked and not len(held):
            rows = np.flatnonzero(self.waiting)
            self.waiting[:] = False
            self.partitions = frozenset()
            return rows
        partition = self.records.partition
        # Row of the first record that each partition waits for; everything before it may go.
        barrier = np.full(int(partition.max()) + 1, len(partition), np.int64)
        np.minimum.at(barrier, partition[held], held)
        barrier[[number for number in blocked if number < len(barrier)]] = 0
        blocked |= set(partition[held].tolist())
        rows = np.flatnonzero(self.waiting & (np.arange(len(partition)) < barrier[partition]))
        self.waiting[rows] = False
        self._count_partitions()
        return rows

    def drop(self, partitions: Collection[int]) -> None:
        """Whatever waits here of these partitions will be answered by another worker."""
        gone = np.isin(self.records.partition, list(partitions))
        self.waiting[gone] = False
        self.unanswered[gone] = 0
        self._count_partitions()

    def _number_of(self, served: Served) -> int:
        for number, known in enumerate(self.served):
            if known is served:
                return number
        self.served.append(served)
        return len(self.served) - 1

    def _count_partitions(self) -> None:
        self.partitions = frozenset(self.records.partition[self.waiting].tolist())
