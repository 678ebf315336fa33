"""The flow without Kafka and without a network: microseconds a record, step by step, on one thread."""

import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import orjson
import pytest

from stream_ae.flow.pipeline import Pipeline
from stream_ae.records import Float32, Inference, ModelIdentity, Partition, RecordBatch
from stream_ae.settings import BatchSettings, Settings
from tests.no_bins import NoBins

pytestmark = pytest.mark.bench

BATCH, BATCHES, WARM_UP, PARTITIONS = 1024, 60, 20, 12
Result = TypeVar("Result")
CHANNELS = tuple(f"sensor_{number}" for number in range(8))


@dataclass(frozen=True, eq=False)
class Echo(NoBins):
    """A model that costs nothing: says what it saw."""

    lookahead: int
    window: int = 32
    threshold: float = 1.0
    start_threshold: float = 0.0
    frame: tuple[int, int, int] | None = None
    channels: tuple[str, ...] = CHANNELS

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity("echo", "1", "none")

    def infer(self, windows: Float32) -> Inference:
        count, channels = windows.shape[:2]
        share = np.full((count, channels), 1 / channels, np.float32)
        target = np.ascontiguousarray(windows[:, :, -1 - self.lookahead])
        return Inference(target, np.zeros(count), np.ones(count), share)


@pytest.mark.parametrize("lookahead", [0, 3])
@pytest.mark.parametrize("streams", [100, 10_000])
def test_flow_time_per_record(streams: int, lookahead: int) -> None:
    pipeline = Pipeline(Settings(batch=BatchSettings(max_records=BATCH)), "stream-ae/bench")
    model = Echo(lookahead)
    pipeline.use(model)
    pipeline.assign({Partition("raw", number): None for number in range(PARTITIONS)})
    steps: dict[str, list[float]] = {"decode": [], "window": [], "leave": []}
    for number, records in enumerate(_raw(streams)):
        spent_s, _ = _timed(partial(pipeline.feed, records, 0.0))
        steps["decode"].append(spent_s)
        spent_s, work = _timed(partial(pipeline.take, 0.0, device_idle=True))
        steps["window"].append(spent_s)
        assert work is not None
        spent_s, _ = _timed(partial(pipeline.complete, work, model.infer(work.windows)))
        steps["leave"].append(spent_s)
        if number % 10 == 9:
            pipeline.committed(pipeline.positions())
    shown = ", ".join(f"{step} {_us(spent):.2f}" for step, spent in steps.items())
    print(f"\nflow, {streams} streams, look-ahead {lookahead}: us a record: {shown}")


def _us(spent_s: list[float]) -> float:
    return statistics.median(spent_s[WARM_UP:]) / BATCH * 1e6


def _timed(step: Callable[[], Result]) -> tuple[float, Result]:
    begin_s = time.thread_time()
    result = step()
    return time.thread_time() - begin_s, result


def _raw(streams: int) -> list[RecordBatch]:
    random = np.random.default_rng(0)
    read_to: Counter[int] = Counter()
    now_ms = 1_700_000_000_000
    batches = []
    for _ in range(BATCHES):
        partition, offset, values = [], [], []
        for stream in random.integers(0, streams, BATCH).tolist():
            now_ms += 1
            partition.append(stream % PARTITIONS)
            offset.append(read_to[partition[-1]])
            read_to[partition[-1]] += 1
            sample = dict(zip(CHANNELS, random.standard_normal(8).round(3).tolist(), strict=True))
            values.append(orjson.dumps({"stream": f"pump-{stream}", "timestamp": now_ms, "values": sample}))
        columns = np.array(partition, np.int32), np.array(offset), np.full(BATCH, now_ms)
        batches.append(RecordBatch("raw", *columns, [None] * BATCH, values, [()] * BATCH))
    return batches
