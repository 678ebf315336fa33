"""Memory does not grow with the records that have passed, nor with the streams that have gone."""

import json
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from stream_ae.kafka.admin import group_lag
from stream_ae.localdev.kafka import embedded_kafka
from tests.end_to_end.long_run import (
    ALIVE,
    LIFE,
    PARTITIONS,
    STATE_TTL_S,
    STEP_MS,
    LongRun,
    audited,
    batches,
    run,
    streams_of,
    told,
)
from tests.end_to_end.process import WorkerProcess
from tests.end_to_end.world import PipelineOnServers, eventually
from tests.page import PAGE, write_section

RECORDS = int(os.environ.get("PROOF_RECORDS", "10000000"))
GROWTH = 0.10
# Each offset is a byte, and the rest does not depend on what is audited.
AUDIT_MB = 500


@pytest.fixture
def brokers() -> Iterator[str]:
    """Of its own, on a folder that goes with it: some 450 bytes on disk for each record."""
    with TemporaryDirectory(prefix="long-run-") as folder, embedded_kafka(Path(folder)) as server:
        yield server.address


def test_streams_end_for_good_after_their_life_and_stay_in_their_partition() -> None:
    records = 300 * ALIVE
    rows: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for batch in batches("raw", records):
        for value, number, kafka_ms in zip(batch.values, batch.partition.tolist(), batch.timestamp_ms, strict=True):
            rows[json.loads(value or b"")["stream"]].append((number, int(kafka_ms)))
    assert len(rows) == streams_of(records)
    for of_stream in rows.values():
        partitions, times = zip(*of_stream, strict=True)
        assert len(set(partitions)) == 1
        assert len(times) <= LIFE
        assert set(np.diff(times)) <= {STEP_MS}


@pytest.mark.proof
@pytest.mark.timeout(7200)
def test_after_millions_of_records_of_streams_that_come_and_go_memory_has_not_grown(
    make_pipeline: Callable[..., PipelineOnServers],
    start_process: Callable[..., WorkerProcess],
    model_folders: Sequence[Path],
    brokers: str,
) -> None:
    pipeline = make_pipeline(
        "long-run",
        partitions=PARTITIONS,
        kafka={"bootstrap_servers": brokers},
        batch={"state_ttl_s": STATE_TTL_S},
        worker={"commit_interval_s": None},
    )
    settings = pipeline.settings
    pipeline.publish(model_folders[0])
    worker = start_process(settings)
    seconds, samples = run(pipeline, worker, RECORDS)
    eventually(lambda: not sum(group_lag(settings.kafka, settings.topics.raw).values()), "all is committed")
    worker.send(signal.SIGTERM)
    assert worker.exit_code() == 0
    done = LongRun(RECORDS, seconds, samples, audited(worker.config))
    write_section(PAGE, "long run", "make proof", told(done))
    report = done.audited.report
    assert (report["raw"], report["cleaned"], report["dead_letters"]) == (RECORDS, RECORDS, 0)
    assert (report["lost"], report["doubled"], report["foreign"], report["pending"]) == (0, 0, 0, 0)
    assert done.growth < GROWTH, told(done)
    assert done.audited.peak_mb < AUDIT_MB, told(done)
