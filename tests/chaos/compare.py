"""What came out, compared with what an undisturbed run says, record by record."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stream_ae import AutoencoderDetector
from stream_ae.flow.audit import AuditReport, audit
from stream_ae.flow.headers import EXCEPTION, FLAG, MODEL, SCORE, Source, header_text, source_of
from stream_ae.records import Float32, Headers, RecordBatch
from tests.chaos.known import Expected, Known, KnownPartition, Undisturbed
from tests.end_to_end.world import PipelineOnServers, Written

# A batch of another size rounds differently, and scores are written with six digits.
RELATIVE, ABSOLUTE = 2e-4, 2e-4
# Where two quantiles of the calibration lie close together, the scale is steep and stretches that: 1.3e-3 was seen in
# three of 690 rounds. A window with one sample too many or too few is off by far more.
SCORE_RELATIVE, SCORE_ABSOLUTE = 5e-3, 1e-3
MOST_SENTENCES = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """lost, doubled: as the audit counts; doubled_flags: flagged samples reported twice; wrong: one sentence each."""

    records: int
    lost: int
    doubled: int
    doubled_flags: int
    wrong: Sequence[str]


@dataclass(frozen=True, slots=True)
class Topics:
    """Everything that the topics of a pipeline hold."""

    raw: Written
    cleaned: Written
    flagged: Written
    dead_letters: Written


def topics_of(pipeline: PipelineOnServers) -> Topics:
    names = pipeline.settings.topics
    return Topics(*map(pipeline.read, (names.raw, names.cleaned, names.flagged, names.dead_letters)))


def judged(topics: Topics, partitions: Mapping[int, KnownPartition], folder: Callable[[str], Path]) -> Verdict:
    """Compare all topics of a pipeline with its known input; `folder` says where a version lies."""
    report = audit(topics.raw.batches, topics.cleaned.batches, topics.dead_letters.batches)
    comparison = _Comparison(partitions, folder)
    wrong = [*_raw_differs(topics.raw, partitions), *_foreign(report)]
    wrong += comparison.of_cleaned(topics.cleaned.batches)
    wrong += comparison.of_dead_letters(topics.dead_letters.batches)
    reported = Counter(_event(value) for value in topics.flagged.values)
    told = {source for source, _, _ in reported}
    wrong += [f"{source} is flagged, but not in the flagged topic" for source in sorted(comparison.flagged - told)]
    doubled_flags = sum(count - 1 for count in reported.values())
    return Verdict(report.raw, report.lost, report.doubled, doubled_flags, wrong[:MOST_SENTENCES])


class _Comparison:
    """Compares outputs with what is expected of their sources; remembers which sources say that they are flagged."""

    def __init__(self, partitions: Mapping[int, KnownPartition], folder: Callable[[str], Path]) -> None:
        self.flagged: set[str] = set()
        self._partitions = partitions
        self._folder = folder
        self._undisturbed: dict[tuple[str, int], Undisturbed] = {}

    def of_cleaned(self, batches: Sequence[RecordBatch]) -> list[str]:
        wrong = []
        for value, headers in _rows(batches):
            source = _source(headers)
            record = self._known(source)
            if record.stream is None:
                wrong.append(f"{source} is broken, but was cleaned")
                continue
            if header_text(headers, FLAG) == "1":
                self.flagged.add(str(source))
            version = (header_text(headers, MODEL) or "").rpartition("/")[2]
            expected = self._of(version, source.partition).expected(record)
            found = self._partitions[source.partition].values_in(value or b"")
            wrong += _differences(source, version, found, headers, expected)
        return wrong

    def of_dead_letters(self, batches: Sequence[RecordBatch]) -> list[str]:
        wrong = []
        for value, headers in _rows(batches):
            source = _source(headers)
            record = self._known(source)
            if record.stream is not None or record.value != value:
                reason = header_text(headers, EXCEPTION)
                wrong.append(f"{source} is a dead letter, and should not be or not so: {reason}")
        return wrong

    def _known(self, source: Source) -> Known:
        return self._partitions[source.partition].records[source.offset]

    def _of(self, version: str, partition: int) -> Undisturbed:
        if (version, partition) not in self._undisturbed:
            folder = self._folder(version)
            detector = AutoencoderDetector.load(folder)
            self._undisturbed[version, partition] = Undisturbed(detector, self._partitions[partition])
        return self._undisturbed[version, partition]


def _differences(source: Source, version: str, values: Float32, headers: Headers, expected: Expected) -> list[str]:
    score = float(header_text(headers, SCORE) or "nan")
    what = []
    if values.shape != expected.values.shape or not np.allclose(values, expected.values, RELATIVE, ABSOLUTE):
        what.append(f"values {values.tolist()} instead of {expected.values.tolist()}")
    if not np.isclose(score, expected.score, SCORE_RELATIVE, SCORE_ABSOLUTE):
        what.append(f"score {score} instead of {expected.score:.6g}")
    flagged = header_text(headers, FLAG) == "1"
    near = np.isclose(expected.scores, expected.thresholds, SCORE_RELATIVE, SCORE_ABSOLUTE).any()
    if flagged != expected.flagged and not near:
        what.append(f"flag {flagged} at scores {expected.scores}, thresholds {expected.thresholds}")
    return [f"{source} (version {version}): {sentence}" for sentence in what]


def _raw_differs(raw: Written, partitions: Mapping[int, KnownPartition]) -> list[str]:
    """What would be this suite's own fault: the raw topic is not what it believes to have sent."""
    wrong = []
    for batch in raw.batches:
        for number, offset, value in zip(batch.partition.tolist(), batch.offset.tolist(), batch.values, strict=True):
            known = partitions[number].records
            if offset >= len(known) or known[offset].value != value:
                wrong.append(f"raw/{number}/{offset} is not what was sent")
    sent = sum(len(partition.records) for partition in partitions.values())
    held = sum(len(batch) for batch in raw.batches)
    return wrong if held == sent else [*wrong, f"the raw topic holds {held} records, {sent} were sent"]


def _foreign(report: AuditReport) -> list[str]:
    return [f"{report.foreign} outputs name no raw record"] if report.foreign else []


def _rows(batches: Sequence[RecordBatch]) -> list[tuple[bytes | None, Headers]]:
    return [row for batch in batches for row in zip(batch.values, batch.headers, strict=True)]


def _source(headers: Headers) -> Source:
    source = source_of(headers)
    assert source is not None, f"an output without a source: {headers}"
    return source


def _event(value: bytes | None) -> tuple[str, int, str]:
    """Source, time and state of a flagged sample."""
    event = json.loads(value or b"")
    source = event["source"]
    where = Source(source["topic"], source["partition"], source["offset"])
    return str(where), event["timestamp_ms"], event["state"]
