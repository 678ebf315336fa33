"""Answers become records: the raw record again with cleaned values, what was flagged, and dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from stream_ae.flow import headers as names
from stream_ae.flow.codec import Codec, FlaggedSamples
from stream_ae.flow.columns import Decoded
from stream_ae.flow.timestamps import iso_utc
from stream_ae.records import (
    Bool,
    Float32,
    Float64,
    Headers,
    Int32,
    Int64,
    ModelIdentity,
    OutgoingBatch,
    RecordBatch,
    Rejection,
)

FLAGGED_SCHEMA = "stream-ae/flagged/1"
DEAD_LETTER_HEADERS = frozenset({names.SOURCE, names.REASON, names.EXCEPTION, names.SOFTWARE})
_FLAG_HEADERS = ((names.FLAG, b"0"), (names.FLAG, b"1"))


@dataclass(frozen=True, slots=True)
class Answers:
    """What is said of N samples: x_hat (N, V), score (N,), flag (N,), and which a profile helped to say it of."""

    x_hat: Float32
    score: Float64
    flag: Bool
    profiled: "Profiled | None" = None


@dataclass(frozen=True, slots=True)
class Profiled:
    """The version of the profiles, and for which of N samples there was one."""

    version: str
    there: Bool


def encode_cleaned(
    topic: str, codec: Codec, records: RecordBatch, decoded: Decoded, answers: Answers, model: ModelIdentity
) -> OutgoingBatch:
    """Each record that has samples, again, with the values replaced; and each tombstone. Rejected ones are left out.

    Row i of `answers` belongs to sample i of `decoded`, row i of `decoded` to record i. Key, partition, Kafka time,
    headers and every byte outside the values stay; our headers are added (an earlier pipeline's replaced).
    """
    row = decoded.samples.row
    first = np.flatnonzero(np.diff(row, prepend=-1))
    rows = row[first]
    values = codec.cleaned(records, decoded, rows, first, answers.x_hat)
    score, flag = answers.score, answers.flag
    if len(rows) < len(row):
        score, flag = np.maximum.reduceat(score, first), np.logical_or.reduceat(flag, first)
    headers = _cleaned_headers(
        records, rows, score, flag, model, _profile_headers(answers.profiled, np.append(first[1:], len(row)) - 1)
    )
    if len(decoded.tombstones) == 0:
        return _outgoing(topic, records, rows, values, headers)
    order = np.argsort(np.concatenate([rows, decoded.tombstones]), kind="stable")
    values = [*values, *([None] * len(decoded.tombstones))]
    headers = [*headers, *_tombstone_headers(records, decoded.tombstones, model)]
    rows = np.concatenate([rows, decoded.tombstones])[order]
    picked = order.tolist()
    return _outgoing(topic, records, rows, [values[i] for i in picked], [headers[i] for i in picked])


def encode_dead_letters(
    topic: str, records: RecordBatch, rejections: Sequence[Rejection], software: str
) -> OutgoingBatch:
    """The rejected records as they came, headers saying where from, why, and who says so (`stream-ae/0.1.0`)."""
    rows = np.array([rejection.row for rejection in rejections], np.int64)
    by = (names.SOFTWARE, software.encode())
    headers: list[Headers] = [
        (
            *names.without(records.headers[rejection.row], DEAD_LETTER_HEADERS),
            (names.SOURCE, source),
            (names.REASON, rejection.reason.encode()),
            (names.EXCEPTION, rejection.message.encode(errors="backslashreplace")),
            by,
        )
        for rejection, source in zip(rejections, names.source_texts(records, rows), strict=True)
    ]
    letters = _outgoing(topic, records, rows, [records.values[row] for row in rows.tolist()], headers)
    # The dead-letter topic has its own number of partitions: the key decides.
    anywhere = np.full(len(rows), -1, np.int32)
    return OutgoingBatch(topic, anywhere, letters.timestamp_ms, letters.keys, letters.values, letters.headers)


def encode_flagged(
    topic: str,
    flagged: FlaggedSamples,
    source_topic: str,
    codec: Codec,
    model: ModelIdentity,
) -> OutgoingBatch:
    """One JSON record for each sample, complete in itself, keyed by its stream.

    A score that is not finite is written as null with `non_finite` true; numbers that are missing are null.
    """
    times = iso_utc(flagged.timestamp_ms)
    about = {"name": model.name, "version": model.version}
    values: list[bytes] = []
    for index, stream in enumerate(flagged.stream):
        score = flagged.score[index]
        event = {
            "schema": FLAGGED_SCHEMA,
            "stream": stream,
            "timestamp": times[index],
            "timestamp_ms": flagged.timestamp_ms[index],
            "state": flagged.state[index],
            "score": score,
            "non_finite": not bool(np.isfinite(score)),
            "threshold": flagged.threshold[index],
            "p_value": flagged.p_value[index],
            **codec.where(flagged, index),
            "model": about,
            "profile": flagged.profile[index],
            "source": {
                "topic": source_topic,
                "partition": flagged.partition[index],
                "offset": flagged.offset[index],
            },
        }
        values.append(orjson.dumps(event, option=orjson.OPT_SERIALIZE_NUMPY))
    anywhere = np.full(len(flagged), -1, np.int32)
    keys = [stream.encode() for stream in flagged.stream]
    return OutgoingBatch(topic, anywhere, flagged.kafka_ms, keys, values, [()] * len(flagged))


def _cleaned_headers(
    records: RecordBatch,
    rows: Int32,
    score: Float64,
    flag: Bool,
    model: ModelIdentity,
    profile: Sequence[Headers],
) -> list[Headers]:
    about = (names.MODEL, names.model_text(model))
    ours: list[Headers] = [
        ((names.SCORE, score_text), _FLAG_HEADERS[flagged], about, (names.SOURCE, source))
        for score_text, flagged, source in zip(
            names.score_texts(score), flag.tolist(), names.source_texts(records, rows), strict=True
        )
    ]
    if profile:
        ours = [(*headers, *more) for headers, more in zip(ours, profile, strict=True)]
    return _added(records, rows, ours)


def _profile_headers(profiled: Profiled | None, last: Int64) -> list[Headers]:
    """For each record, which end with these samples, the header of its profile; empty where none has one."""
    if profiled is None:
        return []
    header = ((names.PROFILE, profiled.version.encode()),)
    return [header if there else () for there in profiled.there[last].tolist()]


def _tombstone_headers(records: RecordBatch, rows: Int32, model: ModelIdentity) -> list[Headers]:
    about = (names.MODEL, names.model_text(model))
    ours: list[Headers] = [(about, (names.SOURCE, source)) for source in names.source_texts(records, rows)]
    return _added(records, rows, ours)


def _added(records: RecordBatch, rows: Int32, ours: Sequence[Headers]) -> list[Headers]:
    given = [records.headers[row] for row in rows.tolist()]
    return [(*names.without(old, names.OURS), *new) if old else new for old, new in zip(given, ours, strict=True)]


def _outgoing(
    topic: str,
    records: RecordBatch,
    rows: NDArray[np.integer[Any]],
    values: Sequence[bytes | None],
    headers: Sequence[Headers],
) -> OutgoingBatch:
    keys = [records.keys[row] for row in rows.tolist()]
    return OutgoingBatch(topic, records.partition[rows], records.timestamp_ms[rows], keys, values, headers)
