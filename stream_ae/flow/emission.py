"""What the records that leave turn into: cleaned records, flagged samples and dead letters."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from stream_ae.flow.chunk import Answered, Chunk
from stream_ae.flow.columns import select_decoded, select_records
from stream_ae.flow.decide import State, States
from stream_ae.flow.encode import Answers, FlaggedSamples, encode_cleaned, encode_dead_letters, encode_flagged
from stream_ae.flow.model import ServedModel
from stream_ae.records import Bool, Int32, Int64, OutgoingBatch, Reason, Rejection
from stream_ae.settings import TopicSettings


@dataclass(frozen=True, slots=True)
class Outputs:
    """What to produce, each batch to its own topic and in this order, and what it amounts to.

    records:          raw records that have left their trace with this.
    samples:          samples in them that were scored.
    flagged_samples:  of those, the anomalies.
    rejected:         records that became dead letters, by reason.
    """

    cleaned: OutgoingBatch
    flagged: OutgoingBatch
    dead_letters: OutgoingBatch
    records: int
    samples: int
    flagged_samples: int
    rejected: dict[Reason, int]


@dataclass(frozen=True, slots=True)
class Emission:
    """Encodes for these topics; `software` is named in dead letters."""

    topics: TopicSettings
    channels: tuple[str, ...]
    software: str

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
        )

    def _cleaned(self, part: "_Leaving") -> Iterator[OutgoingBatch]:
        """A record is signed by the model that answered its last sample."""
        chunk = part.chunk
        if len(chunk.models) == 1:
            yield self._cleaned_by(chunk, part.used, part.samples, chunk.models[0])
            return
        model = np.zeros(len(chunk.records), np.int32)
        if chunk.answers is not None:
            model[chunk.decoded.samples.row] = chunk.answers.model
        for run in _runs(model[part.used]):
            rows = part.used[run]
            yield self._cleaned_by(chunk, rows, _samples_in(chunk, rows), chunk.models[model[rows[0]]])

    def _cleaned_by(self, chunk: Chunk, rows: Int64, samples: Int64, model: ServedModel) -> OutgoingBatch:
        records, decoded = chunk.records, chunk.decoded
        # Rejected rows are passed over by the encoder: only what leaves at another time must be cut out.
        if len(rows) + len(chunk.decoded.rejections) < len(records):
            records, decoded = select_records(records, rows), select_decoded(decoded, rows)
        if chunk.answers is None:
            channels = len(self.channels)
            nothing = Answers(np.empty((0, channels), np.float32), np.empty(0, np.float64), np.empty(0, np.bool_))
            return encode_cleaned(self.topics.cleaned, self.channels, records, decoded, nothing, model.identity)
        answers = chunk.answers
        said = Answers(answers.x_hat[samples], answers.score[samples], _is_flagged(answers.state[samples]))
        return encode_cleaned(self.topics.cleaned, self.channels, records, decoded, said, model.identity)

    def _flagged(self, part: "_Leaving") -> Iterator[OutgoingBatch]:
        """Scores and thresholds of two versions never mix."""
        chunk = part.chunk
        if chunk.answers is None:
            return
        events = part.samples[chunk.answers.state[part.samples] != State.NORMAL]
        for run in _runs(chunk.answers.model[events]):
            samples = events[run]
            model = chunk.models[chunk.answers.model[samples[0]]]
            reported = _report(chunk, chunk.answers, samples)
            yield encode_flagged(
                self.topics.flagged, reported, self.topics.raw, self.channels, model.threshold, model.identity
            )

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

    @property
    def flagged_samples(self) -> int:
        answers = self.chunk.answers
        return int(np.count_nonzero(_is_flagged(answers.state[self.samples]))) if answers is not None else 0


def _samples_in(chunk: Chunk, rows: Int64) -> Int64:
    """The samples of these rows, ascending."""
    if len(rows) == len(chunk.records):
        return np.arange(chunk.samples)
    leaves = np.zeros(len(chunk.records), np.bool_)
    leaves[rows] = True
    return np.flatnonzero(leaves[chunk.decoded.samples.row])


def _report(chunk: Chunk, answers: Answered, samples: Int64) -> FlaggedSamples:
    decoded, records = chunk.decoded.samples, chunk.records
    row = decoded.row[samples]
    return FlaggedSamples(
        stream=[decoded.streams[code] for code in decoded.stream[samples].tolist()],
        timestamp_ms=decoded.timestamp_ms[samples],
        kafka_ms=records.timestamp_ms[row],
        partition=records.partition[row],
        offset=records.offset[row],
        state=[State(state).name.lower() for state in answers.state[samples].tolist()],
        score=answers.score[samples],
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
