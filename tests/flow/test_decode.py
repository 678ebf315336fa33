"""Records become samples; what is broken costs itself alone and says why."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_ae.errors import ConfigError
from stream_ae.flow.columns import Decoded, Shape
from stream_ae.flow.decode import Decoder
from stream_ae.records import Reason, RecordBatch
from stream_ae.settings import DecodeSettings

CHANNELS = ("a", "b", "c")
KAFKA_MS = 1_700_000_000_000
GOOD = b'{"stream":"s","timestamp":1700000000000,"values":{"a":1,"b":2,"c":3}}'


def batch(values: Sequence[bytes | None], keys: Sequence[bytes | None] | None = None) -> RecordBatch:
    count = len(values)
    return RecordBatch(
        "raw",
        np.zeros(count, np.int32),
        np.arange(count, dtype=np.int64),
        np.full(count, KAFKA_MS),
        list(keys) if keys is not None else [None] * count,
        list(values),
        [()] * count,
    )


def decode(
    *values: bytes | None, keys: Sequence[bytes | None] | None = None, settings: DecodeSettings | None = None
) -> Decoded:
    return Decoder(CHANNELS, settings or DecodeSettings()).decode(batch(values, keys))


def record(values: Any, stream: Any = "s", timestamp: Any = KAFKA_MS, **more: Any) -> bytes:
    return json.dumps({"stream": stream, "timestamp": timestamp, "values": values, **more}).encode()


def reason_of(value: bytes, key: bytes | None = None, settings: DecodeSettings | None = None) -> Reason:
    """Why the record between two good ones is refused; the neighbours must come out."""
    decoded = decode(GOOD, value, GOOD, keys=[None, key, None], settings=settings)
    assert decoded.samples.row.tolist() == [0, 2]
    assert decoded.samples.values.tolist() == [[1, 2, 3], [1, 2, 3]]
    assert [rejection.row for rejection in decoded.rejections] == [1]
    assert "raw/0/1" in decoded.rejections[0].message
    assert decoded.layout.shape.tolist() == [Shape.NAMED, Shape.NONE, Shape.NAMED]
    return decoded.rejections[0].reason


def values_text(value: bytes, decoded: Decoded, row: int = 0) -> bytes:
    return value[decoded.layout.start[row] : decoded.layout.end[row]]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"not json", Reason.NOT_JSON),
        (GOOD[:-1], Reason.NOT_JSON),
        (GOOD + GOOD, Reason.NOT_JSON),
        (GOOD + b"," + GOOD, Reason.NOT_JSON),
        (GOOD[:-1] + b',"x":[{}', Reason.NOT_JSON),
        (b"[" * 100_000, Reason.NOT_JSON),
        (GOOD[:-1] + b',"note":"\xff"}', Reason.NOT_UTF8),
        (b"\xff\xfe{\x00}\x00", Reason.NOT_UTF8),
        (b"[1,2,3]", Reason.WRONG_SHAPE),
        (b"17", Reason.WRONG_SHAPE),
        (b"{}", Reason.WRONG_SHAPE),
        (record(None), Reason.WRONG_SHAPE),
        (record("1,2,3"), Reason.WRONG_TYPE),
        (record(5.0), Reason.WRONG_TYPE),
        (record({"a": "1", "b": 2, "c": 3}), Reason.WRONG_TYPE),
        (record({"a": True, "b": 2, "c": 3}), Reason.WRONG_TYPE),
        (record({"a": {}, "b": 2, "c": 3}), Reason.WRONG_TYPE),
        (record([1, "2", 3]), Reason.WRONG_TYPE),
        (record({"a": 1, "b": 2, "c": 3, "d": 4}), Reason.UNKNOWN_CHANNEL),
        (record([1, 2]), Reason.WRONG_CHANNEL_COUNT),
        (record([1, 2, 3, 4]), Reason.WRONG_CHANNEL_COUNT),
        (record([]), Reason.EMPTY),
        (record({"a": math.inf, "b": 2, "c": 3}), Reason.NOT_FINITE),
        (record({"a": 1, "b": -math.inf, "c": 3}), Reason.NOT_FINITE),
        (record({"a": 1e308, "b": 2, "c": 3}), Reason.NOT_FINITE),
        (record([1, 2, -1e39]), Reason.NOT_FINITE),
        (GOOD.replace(b":1,", b":1e999,"), Reason.NOT_FINITE),
        (GOOD.replace(b":1,", b":1" + b"0" * 400 + b","), Reason.NOT_FINITE),
        (record([1, 2, 3], stream=None), Reason.NO_STREAM),
        (record([1, 2, 3], stream=""), Reason.NO_STREAM),
        (record([1, 2, 3], stream=7), Reason.WRONG_TYPE),
        (record([1, 2, 3], stream="\ud800"), Reason.NOT_UTF8),
        (record([1, 2, 3], timestamp=None), Reason.NO_TIMESTAMP),
        (GOOD.replace(b"timestamp", b"time"), Reason.NO_TIMESTAMP),
        (record([1, 2, 3], timestamp="yesterday"), Reason.BAD_TIMESTAMP),
        (record([1, 2, 3], timestamp="1700000000"), Reason.BAD_TIMESTAMP),
        (record([1, 2, 3], timestamp=True), Reason.BAD_TIMESTAMP),
        (record([1, 2, 3], timestamp=[KAFKA_MS]), Reason.BAD_TIMESTAMP),
        (record([1, 2, 3], timestamp=KAFKA_MS * 1000), Reason.BAD_TIMESTAMP),
        (record([1, 2, 3], timestamp=10**40), Reason.BAD_TIMESTAMP),
        (record([1, 2, 3], timestamp=math.nan), Reason.BAD_TIMESTAMP),
        (record([1, 2, 3], timestamp=KAFKA_MS + 300_001), Reason.TIMESTAMP_AHEAD),
        (record([[]]), Reason.WRONG_CHANNEL_COUNT),
        (record([[1, 2, 3], [1, 2]], timestamp=[1, 2]), Reason.WRONG_CHANNEL_COUNT),
        (record([[1, 2, 3], 4], timestamp=[1, 2]), Reason.WRONG_SHAPE),
        (record([[1, 2, 3], [1, 2, None]]), Reason.NO_TIMESTAMP),
        (record([[1, 2, 3], [1, 2, None]], interval_ms=0), Reason.BAD_TIMESTAMP),
        (record([[1, 2, 3], [1, 2, None]], interval_ms="1"), Reason.BAD_TIMESTAMP),
        (record([[1, 2, 3], [1, 2, 3]], timestamp=[KAFKA_MS]), Reason.BAD_TIMESTAMP),
        (record([[1, 2, 3], [1, 2, 3]], timestamp=[KAFKA_MS, None]), Reason.NO_TIMESTAMP),
        (record([[1, 2, 3], [1, [2], 3]], timestamp=[1, 2]), Reason.WRONG_TYPE),
        (record({"a": [], "b": [], "c": []}), Reason.EMPTY),
        (record({"a": [1, 2], "b": [1]}, timestamp=[1, 2]), Reason.WRONG_SHAPE),
        (record({"a": [1, 2], "b": 1}, timestamp=[1, 2]), Reason.WRONG_SHAPE),
        (record({"a": [1, 2], "x": [1, 2]}, timestamp=[1, 2]), Reason.UNKNOWN_CHANNEL),
    ],
)
def test_a_broken_record_is_refused_with_its_reason_and_its_neighbours_come_out(value: bytes, reason: Reason) -> None:
    assert reason_of(value) == reason


def test_a_batch_wholly_of_broken_records_gives_one_rejection_each() -> None:
    decoded = decode(b"x", b"", b"{}", b"\xff")
    assert len(decoded.samples) == 0
    assert decoded.samples.values.shape == (0, 3)
    assert [rejection.row for rejection in decoded.rejections] == [0, 1, 2, 3]


def test_an_empty_batch_decodes_to_nothing() -> None:
    assert len(decode()) == 0


def test_named_and_listed_values_and_tombstones_mix_in_one_batch() -> None:
    decoded = decode(GOOD, None, record([4, 5, 6], stream="t"), b"x", record({"c": 9, "b": 8, "a": 7}))
    assert decoded.samples.row.tolist() == [0, 2, 4]
    assert decoded.samples.values.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert [decoded.samples.streams[code] for code in decoded.samples.stream] == ["s", "t", "s"]
    assert decoded.tombstones.tolist() == [1]
    assert [rejection.row for rejection in decoded.rejections] == [3]
    assert decoded.layout.shape.tolist() == [Shape.NAMED, Shape.NONE, Shape.LISTED, Shape.NONE, Shape.NAMED]


@pytest.mark.parametrize(
    "values",
    [{"a": 1, "b": None, "c": 3}, {"a": 1, "c": 3}, {"a": 1, "b": math.nan, "c": 3}, [1, None, 3], [1, math.nan, 3]],
)
def test_null_nan_and_an_absent_channel_are_missing_not_broken(values: Any) -> None:
    decoded = decode(GOOD, record(values))
    assert decoded.rejections == []
    np.testing.assert_array_equal(decoded.samples.values[1], [1, math.nan, 3])


def test_the_word_nan_in_text_stays_text() -> None:
    decoded = decode(record([1, math.nan, 3], stream='NaN": NaN'), record([1, math.nan, 3], stream="NaN"))
    assert list(decoded.samples.streams) == ['NaN": NaN', "NaN"]
    assert decoded.rejections == []


def test_too_many_missing_values_are_refused_by_the_records_share() -> None:
    settings = DecodeSettings(max_missing=0.5)
    assert reason_of(record([None, None, 3]), settings=settings) == Reason.TOO_MANY_MISSING
    block = record([[1, 2, 3], [None, None, None]], timestamp=[1, 2])
    assert decode(block, settings=settings).rejections == []


@pytest.mark.parametrize(
    "timestamp",
    [
        1_700_000_000,
        1_700_000_000.0,
        1_700_000_000_000,
        1_700_000_000_000.2,
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:13:20",
        "2023-11-14 22:13:20",
        "2023-11-15T00:13:20.0004+02:00",
    ],
)
def test_timestamps_in_seconds_milliseconds_and_iso_8601_mean_the_same(timestamp: Any) -> None:
    decoded = decode(record([1, 2, 3], timestamp=timestamp), GOOD)
    assert decoded.samples.timestamp_ms.tolist() == [KAFKA_MS, KAFKA_MS]


def test_timestamps_of_several_kinds_mix_in_one_batch() -> None:
    decoded = decode(
        *(record([1, 2, 3], timestamp=t) for t in (KAFKA_MS, KAFKA_MS / 1000 + 0.5, "2023-11-14T22:13:21Z"))
    )
    assert (decoded.samples.timestamp_ms - KAFKA_MS).tolist() == [0, 500, 1000]


def test_a_record_without_kafka_time_cannot_be_ahead_of_it() -> None:
    ahead = batch([record([1, 2, 3], timestamp=KAFKA_MS * 2)])
    without = RecordBatch("raw", ahead.partition, ahead.offset, np.array([-1]), [None], ahead.values, [()])
    assert len(Decoder(CHANNELS, DecodeSettings()).decode(without).samples) == 1


@pytest.mark.parametrize(
    ("source", "field", "key", "stream"),
    [
        ("either", "f", b"k", "f"),
        ("either", None, b"k", "k"),
        ("either", "", b"k", "k"),
        ("field", "f", b"k", "f"),
        ("field", None, b"k", Reason.NO_STREAM),
        ("key", "f", b"k", "k"),
        ("key", {"any": 1}, "kü".encode(), "kü"),
        ("key", "f", None, Reason.NO_STREAM),
        ("key", "f", b"\xff", Reason.NOT_UTF8),
        ("either", None, None, Reason.NO_STREAM),
    ],
)
def test_the_stream_comes_from_field_or_key_as_set(source: Any, field: Any, key: bytes | None, stream: str) -> None:
    settings = DecodeSettings(stream_from=source)
    for values in ([1, 2, 3], [[1, 2, 3]]):
        decoded = decode(record(values, stream=field), keys=[key], settings=settings)
        assert [*decoded.samples.streams, *(rejection.reason for rejection in decoded.rejections)] == [stream]


def test_a_stream_named_by_field_in_one_record_and_by_key_in_another_is_one_stream() -> None:
    decoded = decode(record([1, 2, 3], stream="s"), record([1, 2, 3], stream=None), keys=[None, b"s"])
    assert list(decoded.samples.streams) == ["s"]
    assert decoded.samples.stream.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ([[1, 2, 3], [4, None, 6]], Shape.LISTED_BLOCK),
        ({"a": [1, 4], "b": [2, None], "c": [3, 6]}, Shape.NAMED_BLOCK),
        ({"c": [3, 6], "b": [2, math.nan], "a": [1, 4]}, Shape.NAMED_BLOCK),
    ],
)
def test_a_block_gives_several_samples_with_listed_or_spaced_timestamps(values: Any, shape: Shape) -> None:
    listed = record(values, timestamp=[KAFKA_MS, "2023-11-14T22:13:20.004Z"])
    spaced = record(values, timestamp=KAFKA_MS, interval_ms=4)
    decoded = decode(GOOD, listed, GOOD, spaced)
    assert decoded.rejections == []
    assert decoded.samples.row.tolist() == [0, 1, 1, 2, 3, 3]
    assert (decoded.samples.timestamp_ms - KAFKA_MS).tolist() == [0, 0, 4, 0, 0, 4]
    for first in (1, 4):
        np.testing.assert_array_equal(decoded.samples.values[first : first + 2], [[1, 2, 3], [4, math.nan, 6]])
    assert decoded.layout.shape.tolist() == [Shape.NAMED, shape, Shape.NAMED, shape]


def test_a_channel_absent_from_a_block_is_missing_throughout() -> None:
    decoded = decode(record({"a": [1, 2], "b": None}, timestamp=[1, 2]))
    np.testing.assert_array_equal(decoded.samples.values, [[1, math.nan, math.nan], [2, math.nan, math.nan]])


def test_nan_for_a_whole_channel_of_a_block_is_missing_as_null_is() -> None:
    decoded = decode(record({"a": [1, 2], "b": math.nan, "c": None}, timestamp=[1, 2]))
    np.testing.assert_array_equal(decoded.samples.values, [[1, math.nan, math.nan], [2, math.nan, math.nan]])


def test_nan_is_a_missing_value_but_no_missing_stream() -> None:
    for values in ([1, 2, 3], [1, math.nan, 3], [[1, 2, 3]]):
        assert reason_of(record(values, stream=math.nan), key=b"k") == Reason.WRONG_TYPE
    by_key = decode(record([1, math.nan, 3], stream=math.nan), keys=[b"k"], settings=DecodeSettings(stream_from="key"))
    assert list(by_key.samples.streams) == ["k"]


@pytest.mark.parametrize("digits", [400, 401, 5000])
def test_a_number_of_any_length_in_another_field_is_nobodys_business(digits: int) -> None:
    more = b'{"note":"\\"","more":%b,' % (b"9" * digits)
    for value in (GOOD, record([[1, 2, 3]]), record([1, math.nan, 3])):
        decoded = decode(more + value[1:])
        assert (len(decoded.samples), decoded.rejections) == (1, [])


def test_a_block_of_one_sample_needs_no_interval() -> None:
    assert decode(record([[1, 2, 3]])).samples.timestamp_ms.tolist() == [KAFKA_MS]


def test_field_names_are_settings() -> None:
    settings = DecodeSettings(stream_field="id", timestamp_field="t", values_field="v")
    decoded = decode(b'{"id":"x","t":5,"v":[1,2,3],"values":7}', settings=settings)
    assert decoded.samples.timestamp_ms.tolist() == [5000]


@pytest.mark.parametrize(
    "value",
    [
        GOOD,
        GOOD.replace(b":", b": ").replace(b",", b", "),
        GOOD.replace(b":", b" :  "),
        b"\n " + GOOD + b" \n",
        b'{"kind":"values","meta":{"values":{"a":1}},' + GOOD[1:],
        b'{"note":"\\"values\\":{\\"a\\":1}","x":"\\\\",' + GOOD[1:],
        GOOD.replace(b'"values"', b'"v\\u0061lues"')[:-1] + b',"more":{"values":{"a":1,"b":2,"c":3}}}',
        GOOD[:-1] + b',"values":{"a":1,"b":2,"c":3 }}',
        '{"größe":"µ",'.encode() + GOOD[1:],
        '{"größe":"µ","x":NaN,'.encode() + GOOD[1:],
        GOOD.replace(b'{"a":1,"b":2,"c":3}', b"[1, 2,3]"),
        GOOD.replace(b'{"a":1,"b":2,"c":3}', b"[[1, 2,3]\n]"),
        GOOD.replace(b'{"a":1,"b":2,"c":3}', b'{"a":[1],"b":[2],"c":[3]}'),
    ],
)
def test_the_place_of_the_values_in_the_bytes_is_exact(value: bytes) -> None:
    decoded = decode(GOOD, value)
    assert decoded.rejections == []
    expected = json.loads(value)["values"]
    text = values_text(value, decoded, 1)
    assert json.loads(text) == expected
    assert text.strip() == text
    replaced = value[: decoded.layout.start[1]] + b'"here"' + value[decoded.layout.end[1] :]
    assert json.loads(replaced)["values"] == "here"


def test_brackets_in_channel_names_do_not_mislead() -> None:
    channels = ("x}y", 'q"r', "b]", "back\\slash", "ü{")
    for names in (channels, ("x}y", "b]", "ü{")):
        values = dict.fromkeys(names, 1.0)
        raw = json.dumps({"stream": "s", "timestamp": 1, "values": values}, ensure_ascii=False).encode()
        decoded = Decoder(names, DecodeSettings()).decode(batch([raw]))
        assert json.loads(values_text(raw, decoded)) == values


def test_of_a_repeated_field_the_last_one_counts() -> None:
    decoded = decode(GOOD[:-1] + b',"stream":"t"}')
    assert list(decoded.samples.streams) == ["t"]


@pytest.mark.parametrize("channels", [(), ("a", "a")])
def test_channels_that_cannot_be_told_apart_are_refused(channels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        Decoder(channels, DecodeSettings())


@pytest.mark.parametrize("name", ["values", 'quo"te'])
def test_field_names_that_cannot_be_told_apart_or_found_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Decoder(CHANNELS, DecodeSettings(stream_field=name))


words = st.sampled_from(["", "x", '"', "\\", "µ", "NaN", "\n"])
scalars = st.one_of(st.floats(width=32), st.integers(), st.none(), st.booleans(), words)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from([*CHANNELS, "d", "values"]), inner, max_size=4)
    ),
    max_leaves=8,
)
shaped = st.fixed_dictionaries(
    {},
    optional={
        "stream": st.one_of(st.sampled_from(["s", "t", 'x"values":{', "\\"]), anything),
        "timestamp": st.one_of(st.integers(0, KAFKA_MS), st.just("2023-11-14T22:13:20Z"), anything),
        "values": st.one_of(st.lists(st.floats(width=32), min_size=3, max_size=3), anything),
        "interval_ms": st.integers(-1, 5),
        "more": anything,
    },
)
texts = shaped.map(lambda tree: json.dumps(tree).encode())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A record with a piece cut out, or cut into and joined with structure that could swallow its neighbours."""
    text = draw(st.one_of(texts, st.just(GOOD)))
    start, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    return (
        text[:start] + draw(st.sampled_from([b"", b"}", b"]", b"{", b'"', b"},{", b"\\", b"\xff", b"\n"])) + text[end:]
    )


def seen(decoded: Decoded, row: int) -> object:
    """All that a decoded batch says of one row."""
    samples = decoded.samples
    of_row = np.flatnonzero(samples.row == row)
    span = (int(decoded.layout.start[row]), int(decoded.layout.end[row])) if len(of_row) else None
    return (
        [samples.streams[code] for code in samples.stream[of_row]],
        samples.timestamp_ms[of_row].tolist(),
        samples.values[of_row].tobytes(),
        [rejection.reason for rejection in decoded.rejections if rejection.row == row],
        row in decoded.tombstones.tolist(),
        int(decoded.layout.shape[row]),
        span,
    )


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=20), texts, damaged(), st.just(GOOD)), max_size=6))
def test_a_batch_says_of_each_record_what_the_record_says_alone(values: list[bytes | None]) -> None:
    decoded = decode(*values)
    rejected = {rejection.row for rejection in decoded.rejections}
    traces = [set(decoded.samples.row.tolist()), rejected, set(decoded.tombstones.tolist())]
    assert sorted(row for trace in traces for row in trace) == list(range(len(values)))
    for row, value in enumerate(values):
        assert seen(decoded, row) == seen(decode(value), 0)


@settings(deadline=None)
@given(texts)
def test_the_place_of_the_values_is_exact_for_whatever_is_accepted(value: bytes) -> None:
    decoded = decode(value)
    if len(decoded.samples):
        text = values_text(value, decoded)
        assert json.dumps(json.loads(text)) == json.dumps(json.loads(value)["values"])
        replaced = value[: decoded.layout.start[0]] + b'"here"' + value[decoded.layout.end[0] :]
        assert json.loads(replaced) == {**json.loads(value), "values": "here"} or "NaN" in value.decode()
