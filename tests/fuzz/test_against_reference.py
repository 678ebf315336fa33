"""Whatever the bytes, the decoder and a plain reading of the README say the same of them."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.flow.decode import Decoder
from stream_ae.records import RecordBatch
from stream_ae.settings import DecodeSettings
from tests.fuzz.payloads import CHANNELS, NOW_MS, good, mutated, near_misses
from tests.fuzz.reference import BrokenRecordError, Reading, parsed, read

MUTATED = 20_000
DECODER = Decoder(CHANNELS, DecodeSettings())


def readings(values: Sequence[bytes], keys: Sequence[bytes | None]) -> list[Reading | None]:
    """What the decoder says of each record of a batch, None of those that it refuses."""
    count = len(values)
    batch = RecordBatch(
        "raw", np.zeros(count, np.int32), np.arange(count), np.full(count, NOW_MS), keys, values, [()] * count
    )
    decoded = DECODER.decode(batch)
    samples = decoded.samples
    refused = [rejection.row for rejection in decoded.rejections]
    assert sorted([*set(samples.row.tolist()), *refused]) == list(range(count))
    said: list[Reading | None] = [None] * count
    for row in range(count):
        of_row = slice(*np.searchsorted(samples.row, [row, row + 1]).tolist())
        times = samples.timestamp_ms[of_row].tolist()
        # Within a block time is judged where the time of streams is, after the decoder.
        if times and times == sorted(times):
            assert_place_is_exact(values[row], int(decoded.layout.start[row]), int(decoded.layout.end[row]))
            stream = samples.streams[samples.stream[of_row][0]]
            said[row] = Reading(stream, tuple(times), tuple(map(tuple, samples.values[of_row].tolist())))
    return said


def assert_place_is_exact(value: bytes, start: int, end: int) -> None:
    """The bytes that would be replaced are the values, all of them and nothing else."""
    record = parsed(value)
    assert repr(parsed(value[start:end])) == repr(record["values"]), value[:300]
    assert repr(parsed(value[:start] + b'"here"' + value[end:])) == repr(record | {"values": "here"}), value[:300]


def expected(value: bytes, key: bytes | None) -> Reading | None:
    try:
        return read(value, key, NOW_MS, CHANNELS)
    except BrokenRecordError:
        return None


def assert_alike(said: Reading | None, value: bytes, key: bytes | None) -> None:
    # Of floats, repr tells NaN as well.
    assert repr(said) == repr(expected(value, key)), f"{value[:300]!r} key {key!r}"


@settings(max_examples=300, deadline=None)
@given(st.lists(near_misses(), min_size=1, max_size=3), st.sampled_from([None, b"", b"k", b"\xff"]))
def test_near_misses_are_read_as_the_reference_reads_them(values: list[bytes], key: bytes | None) -> None:
    for said, value in zip(readings(values, [key] * len(values)), values, strict=True):
        assert_alike(said, value, key)


@pytest.mark.parametrize("seed", range(4))
def test_mutations_of_good_records_are_read_as_the_reference_reads_them(seed: int) -> None:
    dice = random.Random(seed)
    values = [mutated(dice, good(dice, f"s{n % 7}", NOW_MS + n)) for n in range(MUTATED // 4)]
    keys = [dice.choice([None, b"k"]) for _ in values]
    for said, value, key in zip(readings(values, keys), values, keys, strict=True):
        assert_alike(said, value, key)


def test_good_records_of_all_shapes_are_good() -> None:
    dice = random.Random(0)
    values = [good(dice, "s", NOW_MS + n) for n in range(1000)]
    assert all(expected(value, None) for value in values)
    for said, value in zip(readings(values, [None] * 1000), values, strict=True):
        assert_alike(said, value, None)
