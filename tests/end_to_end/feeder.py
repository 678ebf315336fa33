"""A steady stream of records while a test breaks things, and what must have come of it."""

import json
import threading
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from stream_ae import AutoencoderDetector
from stream_ae.flow.audit import AuditReport, audit
from stream_ae.kafka.driver import open_sink
from tests.end_to_end.world import (
    CHANNELS,
    CLOCK,
    START_MS,
    PipelineOnServers,
    good_records,
    raw_batch,
    signal_rows,
)

PARTITIONS = (0, 1)
AT_ONCE = 5
EVERY_S = 0.02
MOST = 20_000


class Feeder:
    """Sends one stream to each partition, some hundred records a second, until the block ends."""

    def __init__(self, pipeline: PipelineOnServers) -> None:
        self._pipeline = pipeline
        self._records = {number: good_records(f"s{number}", MOST, seed=number) for number in PARTITIONS}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder")
        self._sent = 0

    @property
    def sent(self) -> int:
        """Records of all partitions together."""
        return self._sent * len(PARTITIONS)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        topic = self._pipeline.settings.topics.raw
        sink = open_sink(self._pipeline.settings.kafka)
        while not CLOCK.wait(self._stop, EVERY_S) and self._sent < MOST:
            chosen = slice(self._sent, self._sent + AT_ONCE)
            times = [START_MS + 1000 * i for i in range(chosen.start, chosen.stop)]
            for number in PARTITIONS:
                sink.produce(raw_batch(topic, self._records[number][chosen], timestamps_ms=times, partition=number))
            self._sent += AT_ONCE
        sink.flush(30.0)
        sink.close()


def audited(pipeline: PipelineOnServers) -> AuditReport:
    raw = pipeline.read(pipeline.settings.topics.raw)
    return audit(raw.batches, pipeline.cleaned.batches, pipeline.dead_letters.batches)


def assert_as_offline(pipeline: PipelineOnServers, folder: Path) -> None:
    """Every cleaned record, first copy or second, says what the offline detector says of its row."""
    detector = AutoencoderDetector.load(folder)
    written: dict[int, list[tuple[int, list[float], float]]] = defaultdict(list)
    cleaned = pipeline.cleaned
    for value, headers in zip(cleaned.values, cleaned.headers, strict=True):
        _, partition, offset = headers["stream-ae-source"].decode().rsplit("/", 2)
        values = json.loads(value or b"")["values"]
        score = float(headers["stream-ae-score"])
        written[int(partition)].append((int(offset), [values[name] for name in CHANNELS], score))
    for number, rows in written.items():
        offsets = np.array([offset for offset, _, _ in rows])
        x = signal_rows(int(offsets.max()) + 1, seed=number)
        # A batch of another size rounds differently; scores are written with six digits.
        np.testing.assert_allclose([values for _, values, _ in rows], detector.denoise(x)[offsets], rtol=1e-4)
        expected = detector.decision_function(x)[offsets]
        np.testing.assert_allclose([score for _, _, score in rows], expected, rtol=1e-3, atol=1e-4)
