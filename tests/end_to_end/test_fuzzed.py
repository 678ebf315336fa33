"""Fuzzed payloads among good ones on the real broker: exactly the broken ones are dead letters."""

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from stream_ae.flow.headers import EXCEPTION, REASON, SOURCE
from stream_ae.kafka.admin import group_lag
from stream_ae.kafka.driver import open_sink
from stream_ae.records import Headers, OutgoingBatch, RecordBatch
from tests.end_to_end.process import WorkerProcess
from tests.end_to_end.world import CHANNELS, PipelineOnServers, eventually
from tests.fuzz.payloads import NOW_MS, drawn, good, mutated, near_misses
from tests.fuzz.reference import BrokenRecordError, Order, parsed, read
from tests.page import PAGE, write_section

Make = Callable[..., PipelineOnServers]
Start = Callable[..., WorkerProcess]

PARTITIONS = 2
STREAMS = 50
STEP_MS = 10
AT_ONCE = 2000
KEYS = (None, None, b"", b"key", b"\xff\x00")
HEADERS: Sequence[Headers] = ((), (("trace", b"1"), ("trace", bytes(range(256)))), (("empty", b""),))
WITHIN_S = 400.0
DELIVERIES = ("at_least_once", "exactly_once")
TOLD = (
    "## Fuzzed payloads",
    "",
    "Mutations of good records (cut, flipped bits, other types and numbers, fields twice, bytes that are no UTF-8) and "
    "records of a grammar of near misses, at random places among good records, through one worker process. A plain "
    "reading of the wire format by Python's json says which of them are broken: exactly those are dead letters, byte "
    "for byte with key and headers, and all others are cleaned with nothing but their values replaced.",
    "",
    "| delivery | good | fuzzed | broken = dead letters | by reason |",
    "|---|---:|---:|---:|---|",
)
SEED = int(os.environ.get("FUZZ_SEED", "0"))


@dataclass(frozen=True, slots=True)
class Written:
    """One record as it stands in a topic."""

    value: bytes
    key: bytes | None
    kafka_ms: int
    headers: Headers


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_of_fuzzed_records_exactly_the_broken_ones_are_dead_letters(
    make_pipeline: Make, start_process: Start, model_folders: Sequence[Path], delivery: str
) -> None:
    assert_exactly_the_broken_are_dead(make_pipeline, start_process, model_folders[0], delivery, 10_000, 100)


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_of_a_thousand_fuzzed_among_a_hundred_thousand_exactly_the_broken_ones_are_dead_letters(
    make_pipeline: Make, start_process: Start, model_folders: Sequence[Path]
) -> None:
    lines = []
    for delivery in DELIVERIES:
        reasons = assert_exactly_the_broken_are_dead(
            make_pipeline, start_process, model_folders[0], delivery, 100_000, 1000
        )
        by_reason = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        lines.append(f"| {delivery} | 100,000 | 1,000 | {reasons.total()} | {by_reason} |")
    write_section(PAGE, "fuzz", "make proof", [*TOLD, *lines])


def assert_exactly_the_broken_are_dead(
    make_pipeline: Make, start_process: Start, version: Path, delivery: str, good_count: int, fuzzed_count: int
) -> Counter[str]:
    """The reasons of the dead letters."""
    pipeline = make_pipeline(f"fuzzed-{delivery}")
    settings = pipeline.settings.model_copy(update={"delivery": delivery})
    pipeline.publish(version)
    dice = random.Random(SEED)
    payloads = fuzzed(dice, fuzzed_count)
    sent = list(mixed(dice, good_count, payloads))
    send(pipeline, sent)
    worker = start_process(settings)
    eventually(lambda: not sum(group_lag(settings.kafka, settings.topics.raw).values()), "all is committed", WITHIN_S)
    worker.send(signal.SIGTERM)
    assert worker.exit_code() == 0
    raw = by_place(pipeline.read(settings.topics.raw).batches)
    assert [raw[f"{settings.topics.raw}/{n % PARTITIONS}/{n // PARTITIONS}"] for n in range(len(sent))] == sent
    broken = broken_of(raw)
    assert fuzzed_count / 2 < len(broken) < fuzzed_count
    assert {raw[place].value for place in broken} <= set(payloads)
    dead, cleaned = by_source(pipeline.dead_letters.batches), by_source(pipeline.cleaned.batches)
    for source, record in raw.items():
        what = f"{source}: {record.value[:200]!r} with key {record.key!r}"
        assert (source in dead, source in cleaned) == (source in broken, source not in broken), what
        if source in broken:
            assert_as_it_came(dead[source], record)
        else:
            assert_only_values_replaced(cleaned[source], record)
    assert (len(dead), len(cleaned)) == (len(broken), len(raw) - len(broken))
    return Counter(dict(letter.headers)[REASON].decode() for letter in dead.values())


def by_place(batches: Sequence[RecordBatch]) -> dict[str, Written]:
    """The records of a topic by where they stand, partition by partition in their order."""
    places = sorted(
        (int(batch.partition[row]), int(batch.offset[row]), index, row)
        for index, batch in enumerate(batches)
        for row in range(len(batch))
    )
    return {
        f"{batches[index].topic}/{number}/{offset}": written(batches[index], row)
        for number, offset, index, row in places
    }


def by_source(batches: Sequence[RecordBatch]) -> dict[str, Written]:
    """Outputs by the raw record that they name, each of which has one."""
    found: dict[str, Written] = {}
    for batch in batches:
        for row in range(len(batch)):
            source = dict(batch.headers[row])[SOURCE].decode()
            assert source not in found
            found[source] = written(batch, row)
    return found


def written(batch: RecordBatch, row: int) -> Written:
    value = batch.values[row]
    assert value is not None
    return Written(value, batch.keys[row], int(batch.timestamp_ms[row]), tuple(batch.headers[row]))


def broken_of(raw: Mapping[str, Written]) -> set[str]:
    """Which records the documentation calls broken."""
    broken = set()
    orders = {str(number): Order() for number in range(PARTITIONS)}
    for place, record in raw.items():
        try:
            reading = read(record.value, record.key, record.kafka_ms, CHANNELS)
        except BrokenRecordError:
            broken.add(place)
            continue
        if not orders[place.split("/")[1]].admits(reading, record.kafka_ms):
            broken.add(place)
    return broken


def assert_as_it_came(dead: Written, raw: Written) -> None:
    assert (dead.value, dead.key, dead.kafka_ms) == (raw.value, raw.key, raw.kafka_ms)
    assert dead.headers[: len(raw.headers)] == raw.headers
    assert dict(dead.headers).keys() >= {REASON, EXCEPTION}


def assert_only_values_replaced(cleaned: Written, raw: Written) -> None:
    assert (cleaned.key, cleaned.kafka_ms) == (raw.key, raw.kafka_ms)
    assert cleaned.headers[: len(raw.headers)] == raw.headers
    # Of floats, repr tells NaN as well.
    assert repr(parsed(cleaned.value) | {"values": None}) == repr(parsed(raw.value) | {"values": None})
    said, asked = (read(record.value, record.key, record.kafka_ms, CHANNELS) for record in (cleaned, raw))
    assert (said.stream, said.timestamp_ms, len(said.values)) == (asked.stream, asked.timestamp_ms, len(asked.values))
    assert np.isfinite(said.values).all()


def fuzzed(dice: random.Random, count: int) -> list[bytes]:
    """Half of them mutations of good records, half of a grammar of near misses, in any order."""
    payloads = drawn(near_misses(), count // 2, dice.randrange(2**32))
    payloads += [
        mutated(dice, good(dice, f"fuzz-{dice.randrange(STREAMS)}", NOW_MS)) for _ in range(count - len(payloads))
    ]
    dice.shuffle(payloads)
    return payloads


def mixed(dice: random.Random, good_count: int, payloads: Sequence[bytes]) -> Iterator[Written]:
    """The payloads at random places among good records of streams that no mutation names."""
    total = good_count + len(payloads)
    places = dict(zip(dice.sample(range(total), len(payloads)), payloads, strict=True))
    for number in range(total):
        kafka_ms = NOW_MS + STEP_MS * number
        # A stream stays in its partition: that is where its time runs.
        stream = f"pump-{number % (PARTITIONS * STREAMS)}"
        value = places[number] if number in places else good(dice, stream, kafka_ms)
        yield Written(value, dice.choice(KEYS), kafka_ms, dice.choice(HEADERS))


def send(pipeline: PipelineOnServers, records: Sequence[Written]) -> None:
    """Record n goes to partition n mod 2."""
    sink = open_sink(pipeline.settings.kafka)
    for first in range(0, len(records), AT_ONCE):
        part = records[first : first + AT_ONCE]
        sink.produce(
            OutgoingBatch(
                pipeline.settings.topics.raw,
                (np.arange(first, first + len(part)) % PARTITIONS).astype(np.int32),
                np.array([record.kafka_ms for record in part], np.int64),
                [record.key for record in part],
                [record.value for record in part],
                [record.headers for record in part],
            )
        )
    sink.flush(60.0)
    sink.close()
