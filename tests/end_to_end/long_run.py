"""Millions of records of streams that come and go, sent no faster than they are answered, and what they cost."""

import json
import re
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from stream_ae.kafka.driver import open_sink
from stream_ae.records import NO_HEADERS, OutgoingBatch
from tests.end_to_end.process import WorkerProcess
from tests.end_to_end.world import CHANNELS, CLOCK, START_MS, PipelineOnServers, eventually, signal_rows

PARTITIONS = 4
STEP_MS = 1000
# In every step of time each stream that is alive sends one record, and one in a hundred makes room for another.
ALIVE = 1000
LIFE = 100
# A stream that has ended is forgotten after as long again.
STATE_TTL_S = LIFE * STEP_MS / 1000
STEPS_AT_ONCE = 20
BACKLOG = 200_000
PROGRESS_WITHIN_S = 120.0
MB = 2**20


@dataclass(frozen=True, slots=True)
class Sample:
    """The worker at one moment: records answered so far, its memory, the streams that it holds.

    private_mb: resident memory without what is mapped from files, such as torch's libraries.
    """

    answered: int
    resident_mb: float
    private_mb: float
    streams: int


@dataclass(frozen=True, slots=True)
class Audited:
    """What `stream-ae audit` said, how long it took and how much memory at most."""

    report: dict[str, Any]
    seconds: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class LongRun:
    records: int
    seconds: float
    samples: Sequence[Sample]
    audited: Audited

    @property
    def first_mb(self) -> float:
        """Private memory after the first tenth of the records: the median over the next, as one moment tells little."""
        return self._median(self.records // 10, self.records // 5)

    @property
    def last_mb(self) -> float:
        """The same of the last tenth."""
        return self._median(self.records - self.records // 10, self.records)

    @property
    def growth(self) -> float:
        return self.last_mb / self.first_mb - 1

    def _median(self, begin: int, end: int) -> float:
        return statistics.median(s.private_mb for s in self.samples if begin <= s.answered <= end)


@dataclass(frozen=True, slots=True)
class Watch:
    """A worker process and where it tells its metrics."""

    process: psutil.Process
    address: str

    def sampled(self) -> Sample:
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=10) as answer:
            said = dict(re.findall(r"^(stream_ae_\w+) (\S+)$", answer.read().decode(), re.M))
        records, streams = (int(float(said[f"stream_ae_{name}"])) for name in ("records_total", "streams"))
        memory = self.process.memory_info()
        return Sample(records, memory.rss / MB, (memory.rss - memory.shared) / MB, streams)


def streams_of(records: int) -> int:
    """How many streams come in a run of so many records."""
    last = records // ALIVE - 1
    return sum(_generation(last, place) + 1 for place in range(ALIVE))


def batches(topic: str, records: int) -> Iterator[OutgoingBatch]:
    """All records, step by step; a stream stays in its partition."""
    texts = [
        json.dumps(dict(zip(CHANNELS, [round(x, 2) for x in row], strict=True)), separators=(",", ":")).encode()
        for row in signal_rows(LIFE * 7).tolist()
    ]
    partition = np.tile(np.arange(ALIVE, dtype=np.int32) % PARTITIONS, STEPS_AT_ONCE)
    count = len(partition)
    for first in range(0, records // ALIVE, STEPS_AT_ONCE):
        steps = range(first, first + STEPS_AT_ONCE)
        values = [
            b'{"stream":"s%d-%d","timestamp":%d,"values":%b}'
            % (place, _generation(step, place), START_MS + STEP_MS * step, texts[(step + place) % len(texts)])
            for step in steps
            for place in range(ALIVE)
        ]
        times = START_MS + STEP_MS * np.repeat(np.arange(steps.start, steps.stop), ALIVE)
        yield OutgoingBatch(topic, partition, times, [None] * count, values, [NO_HEADERS] * count)


def run(pipeline: PipelineOnServers, worker: WorkerProcess, records: int) -> tuple[float, list[Sample]]:
    """Send all records, wait until they are answered: the seconds that took and what was seen meanwhile."""
    pipeline.await_running("process-0")
    watch = Watch(psutil.Process(worker.pid), pipeline.status()[0].address)
    samples: list[Sample] = []
    sink = open_sink(pipeline.settings.kafka)
    began_s, sent = CLOCK.monotonic_s(), 0

    def behind_at_most(limit: int) -> bool:
        samples.append(watch.sampled())
        return sent - samples[-1].answered <= limit

    for batch in batches(pipeline.settings.topics.raw, records):
        sink.produce(batch)
        sent += len(batch)
        eventually(lambda: behind_at_most(BACKLOG), f"less than {BACKLOG:,} records wait", PROGRESS_WITHIN_S)
    sink.flush(60.0)
    sink.close()
    eventually(lambda: behind_at_most(0), f"all {sent:,} records are answered", PROGRESS_WITHIN_S)
    return CLOCK.monotonic_s() - began_s, samples


def audited(config: Path) -> Audited:
    """`stream-ae audit` as a process of its own."""
    command = [sys.executable, "-m", "stream_ae.cli", "--config", str(config), "audit", "--json"]
    began_s, peak_mb = CLOCK.monotonic_s(), 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            peak_mb = max(peak_mb, watched.memory_info().rss / MB)
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        seconds = CLOCK.monotonic_s() - began_s
        report = json.loads(process.stdout.read() if process.stdout is not None else "")
    return Audited(report, seconds, peak_mb)


def told(done: LongRun) -> list[str]:
    """The section of docs/RELIABILITY.md."""
    report, found = done.audited.report, done.audited
    most_streams = max(sample.streams for sample in done.samples)
    peak_mb, peak_resident_mb = (max(getattr(s, name) for s in done.samples) for name in ("private_mb", "resident_mb"))
    return [
        "## A long run",
        "",
        f"{done.records:,} records of {streams_of(done.records):,} streams through one worker process, "
        f"{PARTITIONS} partitions, at_least_once. {ALIVE:,} streams are alive at a time; each sends {LIFE} records, "
        f"one a second of record time, ends for good and is forgotten {STATE_TTL_S:g} s later. Records are sent as "
        f"fast as they are answered, at most {BACKLOG:,} of them waiting. Memory is private memory (resident, without "
        "what is mapped from files, such as torch's libraries).",
        "",
        "| | |",
        "|---|---:|",
        f"| answered in | {done.seconds:,.0f} s ({done.records / done.seconds:,.0f} records/s) |",
        f"| streams in memory, at most | {most_streams:,} |",
        f"| the worker's memory after {done.records // 10:,} records | {done.first_mb:.0f} MB |",
        f"| at the end | {done.last_mb:.0f} MB ({done.growth:+.1%}) |",
        f"| at most | {peak_mb:.0f} MB (with libraries {peak_resident_mb:.0f} MB) |",
        f"| `stream-ae audit` of all of it | {found.seconds:.0f} s, {found.peak_mb:.0f} MB at most |",
        f"| lost / doubled / dead letters | {report['lost']} / {report['doubled']} / {report['dead_letters']} |",
    ]


def _generation(step: int, place: int) -> int:
    """The how manieth stream is at this place; places change their streams in turn, not all at once."""
    return (step + place * LIFE // ALIVE) // LIFE
