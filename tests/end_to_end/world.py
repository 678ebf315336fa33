"""A whole pipeline on real servers: topics, a small trained model, workers, and what they wrote."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from typer.testing import CliRunner

from stream_ae.cli.app import app
from stream_ae.clock import Deadline, SystemClock
from stream_ae.errors import StreamAEError
from stream_ae.flow.headers import SOURCE
from stream_ae.kafka.driver import open_reader, open_sink
from stream_ae.ports import Desired
from stream_ae.records import Float32, Headers, ModelVersion, OutgoingBatch, RecordBatch
from stream_ae.registry.signal import RedisSignal
from stream_ae.registry.store import MlflowStore
from stream_ae.settings import Settings
from stream_ae.status import Health, WorkerStatus
from stream_ae.worker.process import serve
from tests.end_to_end.process import as_file

CHANNELS = ("temperature", "pressure", "flow")
WINDOW = 8
START_MS = 1_700_000_000_000
CLOCK = SystemClock()


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 60.0, every_s: float = 0.05) -> None:
    """Wait until `condition` holds; an assertion that names `what` if it does not within `timeout_s`."""
    deadline = Deadline.after(CLOCK, timeout_s)
    never = threading.Event()
    while not condition():
        assert not deadline.passed(), f"not within {timeout_s} s: {what}"
        CLOCK.wait(never, every_s)


def signal_rows(count: int, seed: int = 0) -> Float32:
    """(count, 3) of related waves with a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(count)[:, None] + 17 * seed
    clean = np.sin(t / np.array([5.0, 7.0, 11.0])) * np.array([3.0, 0.5, 20.0]) + np.array([60.0, 2.0, 100.0])
    rows: Float32 = (clean + rng.normal(0, 0.05, (count, 3)) * np.array([3.0, 0.5, 20.0])).astype(np.float32)
    return rows


@dataclass
class Written:
    """Every record of one output topic."""

    batches: Sequence[RecordBatch]

    @property
    def values(self) -> list[bytes | None]:
        return [value for batch in self.batches for value in batch.values]

    @property
    def headers(self) -> list[dict[str, bytes]]:
        return [dict(headers) for batch in self.batches for headers in batch.headers]

    @property
    def sources(self) -> list[str]:
        return [headers[SOURCE].decode() for headers in self.headers]

    def by_value(self, value: bytes | None) -> tuple[bytes | None, dict[str, bytes]]:
        """Key and headers of the one record with this value."""
        found = [
            (batch.keys[row], dict(batch.headers[row]))
            for batch in self.batches
            for row in range(len(batch))
            if batch.values[row] == value
        ]
        assert len(found) == 1, f"{value!r:.80} is there {len(found)} times"
        return found[0]


@dataclass
class PipelineOnServers:
    """One pipeline with names of its own on the session's servers."""

    settings: Settings
    folder: Path
    workers: "list[WorkerThread]" = field(default_factory=list)

    def send(
        self,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None] | None = None,
        headers: Sequence[Headers] | None = None,
        timestamps_ms: Sequence[int] | None = None,
        partition: int = 0,
    ) -> None:
        sink = open_sink(self.settings.kafka)
        sink.produce(raw_batch(self.settings.topics.raw, values, keys, headers, timestamps_ms, partition))
        sink.flush(30.0)
        sink.close()

    def read(self, topic: str) -> Written:
        reader = open_reader(self.settings.kafka)
        try:
            return Written(list(reader.read(reader.ranges(topic))))
        finally:
            reader.close()

    @property
    def cleaned(self) -> Written:
        return self.read(self.settings.topics.cleaned)

    @property
    def flagged(self) -> Written:
        return self.read(self.settings.topics.flagged)

    @property
    def dead_letters(self) -> Written:
        return self.read(self.settings.topics.dead_letters)

    def traces(self) -> int:
        topics = self.settings.topics
        reader = open_reader(self.settings.kafka)
        try:
            ranges = [*reader.ranges(topics.cleaned), *reader.ranges(topics.dead_letters)]
        finally:
            reader.close()
        return sum(each.end - each.begin for each in ranges)

    def await_traces(self, count: int) -> None:
        eventually(lambda: self.traces() >= count, f"{count} traces")

    @property
    def store(self) -> MlflowStore:
        return MlflowStore(self.settings.mlflow, self.settings.pipeline)

    def publish(self, folder: Path) -> ModelVersion:
        """Register, promote and announce a version folder."""
        version = self.store.register(folder, {}, {})
        self.store.promote(version.version)
        self.announce(version)
        return version

    def announce(self, version: ModelVersion) -> None:
        with self._signal() as signal:
            signal.announce(Desired(version.identity, CLOCK.wall_ms(), "test"))

    def status(self) -> list[WorkerStatus]:
        with self._signal() as signal:
            return signal.workers()

    def announced(self) -> list[Desired]:
        """Newest first."""
        with self._signal() as signal:
            return signal.history()

    def command(self, *arguments: str) -> str:
        """What `stream-ae` says with these arguments on this pipeline."""
        config = self.folder / "command.yaml"
        config.write_text(yaml.safe_dump(as_file(self.settings, "nobody")), encoding="utf-8")
        done = CliRunner().invoke(app, ["--config", str(config), *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    @contextmanager
    def _signal(self) -> Iterator[RedisSignal]:
        signal = RedisSignal(self.settings.redis, self.settings.pipeline, CLOCK)
        try:
            yield signal
        finally:
            signal.close()

    def start_worker(self, name: str = "w", **changes: Mapping[str, object]) -> "WorkerThread":
        """A worker on a thread of this process; `changes` are settings groups to update."""
        worker = WorkerThread(with_changes(self.settings, changes), name)
        self.workers.append(worker)
        worker.start()
        return worker

    def await_more_traces(self, more: int) -> None:
        self.await_traces(self.traces() + more)

    def await_running(self, name: str = "w") -> None:
        eventually(
            lambda: any(w.worker == name and w.health in (Health.RUNNING, Health.DEGRADED) for w in self.status()),
            f"worker {name} runs",
        )


def limit_records(pipeline: PipelineOnServers, topic: str, max_bytes: int) -> None:
    """The brokers take no larger record for a topic from now on; a worker that starts now would refuse to."""
    name = "max.message.bytes"
    client = KafkaAdminClient(bootstrap_servers=pipeline.settings.kafka.bootstrap_servers)

    def limited() -> bool:
        found = client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: None})], False, "all")
        return int(found["topic"][topic][name]["value"]) == max_bytes

    client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: str(max_bytes)})])
    eventually(limited, f"records of topic {topic} are limited")
    client.close()


def raw_batch(
    topic: str,
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None = None,
    headers: Sequence[Headers] | None = None,
    timestamps_ms: Sequence[int] | None = None,
    partition: int = 0,
) -> OutgoingBatch:
    count = len(values)
    return OutgoingBatch(
        topic,
        np.full(count, partition, np.int32),
        np.array(timestamps_ms if timestamps_ms is not None else [START_MS] * count, np.int64),
        keys if keys is not None else [None] * count,
        values,
        headers if headers is not None else [()] * count,
    )


def with_changes(settings: Settings, changes: Mapping[str, Mapping[str, object]]) -> Settings:
    groups = {name: getattr(settings, name).model_copy(update=dict(values)) for name, values in changes.items()}
    return settings.model_copy(update=groups)


class WorkerThread:
    """`worker.process.serve` on a thread."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._settings = settings
        self._name = name
        self._thread = threading.Thread(target=self._run, name=f"worker-{name}")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Drain and leave; raises what ended the worker early."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the worker did not stop"
        if self.error is not None:
            raise self.error

    def await_end(self) -> BaseException | None:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the worker did not end by itself"
        return self.error

    def _run(self) -> None:
        try:
            serve(self._settings, self._name, CLOCK, self._stop)
        except StreamAEError as error:
            self.error = error


def record(stream: str, timestamp_ms: int, values: object) -> bytes:
    return json.dumps({"stream": stream, "timestamp": timestamp_ms, "values": values}).encode()


def good_records(stream: str, count: int, seed: int = 0, start_ms: int = START_MS) -> list[bytes]:
    """JSON records with named values, one second apart."""
    return [
        record(stream, start_ms + 1000 * i, dict(zip(CHANNELS, map(float, row), strict=True)))
        for i, row in enumerate(signal_rows(count, seed))
    ]
