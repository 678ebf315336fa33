"""What the records that leave turn into: cleaned records, flagged samples and dead letters."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from stream_ae.errors import InvariantError
from stream_ae.flow.chunk import Answered, Chunk
from stream_ae.flow.codec import Codec, FlaggedSamples
from stream_ae.flow.columns import Decoded, select_decoded, select_records
from stream_ae.flow.decide import State, States
from stream_ae.flow.encode import (
    Answers,
    Profiled,
    encode_cleaned,
    encode_dead_letters,
    encode_flagged,
)
from stream_ae.flow.latent import encode_latent
from stream_ae.flow.profiles import Served
from stream_ae.flow.sample_table import SampleTable
from stream_ae.records import Bool, Int32, Int64, OutgoingBatch, Reason, RecordBatch, Rejection
from stream_ae.settings import TopicSettings


@dataclass(frozen=True, slots=True)
class Outputs:
    """What to produce, each batch to its own topic and in this order, and what it amounts to.

    records:          raw records that have left their trace with this.
    samples:          samples in them that were scored.
    flagged_samples:  of those, the anomalies.
    rejected:         records that became dead letters, by reason.
    latent:           None where the topic is not used.
    tables:           the same samples in columns, in the order of cleaned; empty where nobody asked for them.
    """

    cleaned: OutgoingBatch
    flagged: OutgoingBatch
    dead_letters: OutgoingBatch
    records: int
    samples: int
    flagged_samples: int
    rejected: dict[Reason, int]
    latent: OutgoingBatch | None = None
    tables: tuple[SampleTable, ...] = ()

    @property
    def batches(self) -> Iterator[OutgoingBatch]:
        """All of them, in order."""
        yield from (self.cleaned, self.flagged, self.dead_letters)
        if self.latent is not None:
            yield self.latent


@dataclass(frozen=True, slots=True)
class Emission:
    """Encodes for these topics; `software` is named in dead letters; `tables`: and says it in columns."""

    topics: TopicSettings
    codec: Codec
    software: str
    tables: bool = False

    def of(self, parts: Sequence[tuple[Chunk, Int64]]) -> Outputs:
        """Rows of chunks (ascending, all answered) as outgoing batches."""
        leaving = [_Leaving.of(chunk, rows) for chunk, rows in parts]
        rejected = Counter(Reason(rejection.reason) for part in leaving for rejection in part.refused)
        return Outputs(
            _joined(self.topics.cleaned, [batch for part in leaving for batch in self._cleaned(part)]),
            _joined(self.topics.flagged, [batch for part in leaving for batch in self._flagged(part)]),
            _joined(self.topics.dead_letters, [batch for part in leaving for batch in self._dead_letters(part)]),
            records=sum(len(rows) for _, rows in parts),
            samples=sum(len(part.samples) for part in leaving),
            flagged_samples=sum(part.flagged_samples for part in leaving),
            rejected=dict(rejected),
            latent=self._latent(leaving),
            tables=tuple(_table_of(part, self.codec.width) for part in leaving) if self.tables else (),
        )

    def _cleaned(self, part: "_Leaving") -> Iterator[OutgoingBatch]:
        for rows, samples, served in part.signed():
            yield self._cleaned_by(part.chunk, rows, samples, part.chunk.served[served])

    def _latent(self, leaving: Sequence["_Leaving"]) -> OutgoingBatch | None:
        topic = self.topics.latent
        if topic is None:
            return None
        signed = [(part.chunk, *run) for part in leaving for run in part.signed()]
        return _joined(topic, [_latent_by(topic, *each) for each in signed])

    def _cleaned_by(self, chunk: Chunk, rows: Int64, samples: Int64, served: Served) -> OutgoingBatch:
        records, decoded = _cut(chunk, rows)
        model = served.model
        if chunk.answers is None:
            nothing = Answers(
                np.empty((0, self.codec.width), np.float32), np.empty(0, np.float64), np.empty(0, np.bool_)
            )
            return encode_cleaned(self.topics.cleaned, self.codec, records, decoded, nothing, model.identity)
        answers = chunk.answers
        profiled = answers.profile[samples] > 0
        said = Answers(
            answers.x_hat[samples],
            answers.score[samples],
            _is_flagged(answers.state[samples]),
            Profiled(served.profile, profiled) if profiled.any() else None,
        )
        return encode_cleaned(self.topics.cleaned, self.codec, records, decoded, said, model.identity)

    def _flagged(self, part: "_Leaving") -> Iterator[OutgoingBatch]:
        """Scores and thresholds of two versions never mix."""
        chunk = part.chunk
        if chunk.answers is None:
            return
        events = part.samples[chunk.answers.state[part.samples] != State.NORMAL]
        for run in _runs(chunk.answers.served[events]):
            samples = events[run]
            served = chunk.served[chunk.answers.served[samples[0]]]
            reported = _report(chunk, chunk.answers, samples, served)
            yield encode_flagged(self.topics.flagged, reported, self.topics.raw, self.codec, served.model.identity)

    def _dead_letters(self, part: "_Leaving") -> Iterator[OutgoingBatch]:
        if part.refused:
            yield encode_dead_letters(self.topics.dead_letters, part.chunk.records, part.refused, self.software)


@dataclass(frozen=True, slots=True)
class _Leaving:
    """Rows of a chunk that leave together: those refused, those used, and the samples of the used ones."""

    chunk: Chunk
    refused: list[Rejection]
    used: Int64
    samples: Int64

    @classmethod
    def of(cls, chunk: Chunk, rows: Int64) -> "_Leaving":
        rejections = chunk.rejections
        if not rejections:
            return cls(chunk, [], rows, _samples_in(chunk, rows))
        leaving = set(rows.tolist())
        refused = [rejection for rejection in rejections if rejection.row in leaving]
        used = rows[~np.isin(rows, [rejection.row for rejection in refused])]
        return cls(chunk, refused, used, _samples_in(chunk, used))

    def signed(self) -> Iterator[tuple[Int64, Int64, int]]:
        """Runs of used rows, their samples and the number of what served them: what answered their last sample."""
        chunk = self.chunk
        if len(chunk.served) == 1:
            yield self.used, self.samples, 0
            return
        by = np.zeros(len(chunk.records), np.int32)
        if chunk.answers is not None:
            by[chunk.decoded.samples.row] = chunk.answers.served
        for run in _runs(by[self.used]):
            rows = self.used[run]
            yield rows, _samples_in(chunk, rows), int(by[rows[0]])

    @property
    def flagged_samples(self) -> int:
        answers = self.chunk.answers
        return int(np.count_nonzero(_is_flagged(answers.state[self.samples]))) if answers is not None else 0


def _table_of(part: _Leaving, width: int) -> SampleTable:
    records, decoded, samples = part.chunk.records, part.chunk.decoded.samples, part.samples
    row, answers = decoded.row[samples], part.chunk.answers
    if answers is None:
        answers = Answered.none_yet(0, width)
    return SampleTable(
        decoded.streams,
        decoded.stream[samples],
        decoded.timestamp_ms[samples],
        records.partition[row],
        records.offset[row],
        answers.x_hat[samples],
        answers.score[samples],
        answers.p_value[samples],
        _is_flagged(answers.state[samples]),
        [(int(records.partition[r.row]), int(records.offset[r.row]), r.reason) for r in part.refused],
    )


def _samples_in(chunk: Chunk, rows: Int64) -> Int64:
    """The samples of these rows, ascending."""
    if len(rows) == len(chunk.records):
        return np.arange(chunk.samples)
    leaves = np.zeros(len(chunk.records), np.bool_)
    leaves[rows] = True
    return np.flatnonzero(leaves[chunk.decoded.samples.row])


def _cut(chunk: Chunk, rows: Int64) -> tuple[RecordBatch, Decoded]:
    """These rows alone. Rejected ones may stay, for encoders pass over them; what leaves at another time may not."""
    if len(rows) + len(chunk.decoded.rejections) < len(chunk.records):
        return select_records(chunk.records, rows), select_decoded(chunk.decoded, rows)
    return chunk.records, chunk.decoded


def _latent_by(topic: str, chunk: Chunk, rows: Int64, samples: Int64, served: int) -> OutgoingBatch:
    codes = np.empty((0, 0), np.float32)
    identity = chunk.served[served].model.identity
    if len(samples):
        if chunk.answers is None or served not in chunk.answers.codes:
            raise InvariantError(f"model {identity.name} gave no codes for topic {topic}")
        codes = chunk.answers.codes[served][samples]
    return encode_latent(topic, *_cut(chunk, rows), codes, identity)


def _report(chunk: Chunk, answers: Answered, samples: Int64, served: Served) -> FlaggedSamples:
    decoded, records = chunk.decoded.samples, chunk.records
    profile = answers.profile[samples]
    row = decoded.row[samples]
    return FlaggedSamples(
        stream=[decoded.streams[code] for code in decoded.stream[samples].tolist()],
        timestamp_ms=decoded.timestamp_ms[samples],
        kafka_ms=records.timestamp_ms[row],
        partition=records.partition[row],
        offset=records.offset[row],
        state=[State(state).name.lower() for state in answers.state[samples].tolist()],
        score=answers.score[samples],
        threshold=answers.threshold[samples],
        profile=[served.profile if row else None for row in profile.tolist()],
        p_value=answers.p_value[samples],
        observed=decoded.values[samples],
        expected=answers.expected[samples],
        share=answers.share[samples],
    )


def _is_flagged(state: States) -> Bool:
    flags: Bool = (state == State.OPEN) | (state == State.ONGOING)
    return flags


def _runs(column: Int32) -> list[slice]:
    """Stretches of equal values."""
    edges = [0, *(np.flatnonzero(np.diff(column)) + 1).tolist(), len(column)]
    return [slice(begin, end) for begin, end in pairwise(edges) if end > begin]


def _joined(topic: str, batches: Sequence[OutgoingBatch]) -> OutgoingBatch:
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return OutgoingBatch(topic, np.empty(0, np.int32), np.empty(0, np.int64), (), (), ())
    return OutgoingBatch(
        topic,
        np.concatenate([batch.partition for batch in batches]),
        np.concatenate([batch.timestamp_ms for batch in batches]),
        list(chain.from_iterable(batch.keys for batch in batches)),
        list(chain.from_iterable(batch.values for batch in batches)),
        list(chain.from_iterable(batch.headers for batch in batches)),
    )
