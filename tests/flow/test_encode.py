"""Cleaned records are the raw ones but for their values; flagged records and dead letters stand on their own."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_ae.flow.codec import FlaggedSamples
from stream_ae.flow.columns import Decoded
from stream_ae.flow.encode import Answers, encode_cleaned, encode_dead_letters, encode_flagged
from stream_ae.flow.headers import FLAG, MODEL, SCORE, SOURCE, header_text, source_of
from stream_ae.flow.json_codec import JsonCodec
from stream_ae.records import Float32, Headers, ModelIdentity, OutgoingBatch, Reason, RecordBatch, Rejection
from stream_ae.settings import DecodeSettings

CHANNELS = ("a", "b%", "c")
KAFKA_MS = 1_700_000_000_000
MODEL_3 = ModelIdentity("pump", "3", "digest")
CODEC = JsonCodec(CHANNELS, DecodeSettings())


def batch(values: Sequence[bytes | None], headers: Sequence[Headers] | None = None) -> RecordBatch:
    count = len(values)
    number = np.arange(count)
    return RecordBatch(
        "raw",
        (number % 4).astype(np.int32),
        number + 100,
        KAFKA_MS + number,
        [None if n % 2 else b"key %d" % n for n in range(count)],
        list(values),
        headers if headers is not None else [()] * count,
    )


def record(values: Any, **more: Any) -> bytes:
    return json.dumps({"stream": "s", "timestamp": KAFKA_MS, "values": values, **more}).encode()


def cleaned(
    records: RecordBatch, x_hat: Float32 | None = None, score: Sequence[float] | None = None
) -> tuple[Decoded, OutgoingBatch]:
    """Decoded and encoded again; the answers are the values plus one, unless given."""
    decoded = CODEC.decode(records)
    count = len(decoded.samples)
    answers = Answers(
        np.nan_to_num(decoded.samples.values) + np.float32(1) if x_hat is None else x_hat,
        np.array(score, np.float64) if score is not None else np.zeros(count),
        np.array([value > 2 for value in score], np.bool_) if score is not None else np.zeros(count, np.bool_),
    )
    return decoded, encode_cleaned("cleaned", CODEC, records, decoded, answers, MODEL_3)


def test_everything_but_the_values_stays_as_it_was() -> None:
    raw = b' {"note" : "x, \\"values\\": {}","stream":"s",\n"timestamp":1.70e12,"values":{"a":1,"b%":2,"c":3},"n":1e0} '
    _, out = cleaned(batch([raw]))
    assert out.values == [raw.replace(b'{"a":1,"b%":2,"c":3}', b'{"a":2.0,"b%":3.0,"c":4.0}')]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ('{"a":1,"b%":2,"c":3}', '{"a":2.0,"b%":3.0,"c":4.0}'),
        ('{"c":3,"a":1,"b%":2}', '{"a":2.0,"b%":3.0,"c":4.0}'),
        ('{"a":1,"c":null}', '{"a":2.0,"b%":1.0,"c":1.0}'),
        ('{"a":NaN,"b%":2,"c":3}', '{"a":1.0,"b%":3.0,"c":4.0}'),
        ("[1,null,3]", "[2.0,1.0,4.0]"),
        ("[[1,2,3],[4,5,6]]", "[[2.0,3.0,4.0],[5.0,6.0,7.0]]"),
        ("[[1,2,3]]", "[[2.0,3.0,4.0]]"),
        ('{"a":[1,4],"b%":[2,5],"c":[3,6]}', '{"a":[2.0,5.0],"b%":[3.0,6.0],"c":[4.0,7.0]}'),
        ('{"a":[1],"c":[3]}', '{"a":[2.0],"b%":[1.0],"c":[4.0]}'),
    ],
)
def test_values_keep_their_shape_and_missing_ones_are_filled_in(values: str, expected: str) -> None:
    compact = '{"stream":"s","timestamp":1,"interval_ms":1,"values":%s}'
    spaced = '{"stream": "s", "timestamp": 1, "interval_ms": 1, "values": %s}'
    _, out = cleaned(batch([(compact % values).encode(), (spaced % values).encode()]))
    wide = json.dumps(json.loads(expected))
    assert out.values == [(compact % expected).encode(), (spaced % wide).encode()]


def test_shapes_and_styles_mix_in_one_batch() -> None:
    raws = [record([1, 2, 3]), record([[1, 2, 3], [4, 5, 6]], interval_ms=1), record({"a": 1}), record([4, 5, 6])]
    raws += [raw.replace(b" ", b"") for raw in raws]
    _, out = cleaned(batch(raws))
    expected = [[2, 3, 4], [[2, 3, 4], [5, 6, 7]], {"a": 2, "b%": 1, "c": 1}, [5, 6, 7]]
    assert [json.loads(value or b"")["values"] for value in out.values] == expected * 2
    assert [b" " in (value or b"") for value in out.values] == [True] * 4 + [False] * 4


def test_numbers_are_float32s_shortest_decimals() -> None:
    _, out = cleaned(batch([record([1, 2, 3])]), np.array([[0.1, 1e-30, -16777216]], np.float32))
    assert json.loads(out.values[0] or b"")["values"] == [0.1, 1e-30, -16777216.0]


def test_key_partition_time_and_headers_stay_and_ours_are_added() -> None:
    raw = record([1, 2, 3])
    theirs: list[Headers] = [(), (("trace", b"\xff"), ("trace", b"2")), ()]
    _, out = cleaned(batch([raw] * 3, theirs), score=[0.1234567, 2.5, math.inf])
    assert out.topic == "cleaned"
    assert out.keys == [b"key 0", None, b"key 2"]
    assert out.partition.tolist() == [0, 1, 2]
    assert out.timestamp_ms.tolist() == [KAFKA_MS, KAFKA_MS + 1, KAFKA_MS + 2]
    assert out.headers[1][:2] == theirs[1]
    assert [header_text(headers, SCORE) for headers in out.headers] == ["0.123457", "2.5", "inf"]
    assert [header_text(headers, FLAG) for headers in out.headers] == ["0", "1", "1"]
    assert [header_text(headers, MODEL) for headers in out.headers] == ["pump/3"] * 3
    assert [header_text(headers, SOURCE) for headers in out.headers] == ["raw/0/100", "raw/1/101", "raw/2/102"]


def test_a_blocks_score_is_the_largest_and_its_flag_any() -> None:
    block = record([[1, 2, 3], [4, 5, 6]], interval_ms=1)
    _, out = cleaned(batch([record([1, 2, 3]), block, block]), score=[1, 2, 3, 0, 1])
    assert [header_text(headers, SCORE) for headers in out.headers] == ["1", "3", "1"]
    assert [header_text(headers, FLAG) for headers in out.headers] == ["0", "1", "0"]


def test_headers_of_an_earlier_pipeline_are_replaced() -> None:
    old = ((SCORE, b"99"), ("keep", b"x"), (SOURCE, b"first/0/1"), (SCORE, b"98"))
    _, out = cleaned(batch([record([1, 2, 3])], [old]))
    assert [name for name, _ in out.headers[0]].count(SCORE) == 1
    assert header_text(out.headers[0], "keep") == "x"
    source = source_of(out.headers[0])
    assert source is not None
    assert source == ("raw", 0, 100)


def test_tombstones_pass_on_in_their_place_and_rejected_records_do_not() -> None:
    _, out = cleaned(batch([None, record([1, 2, 3]), b"broken", None, record([4, 5, 6])]))
    assert [value is None for value in out.values] == [True, False, True, False]
    assert [header_text(headers, SOURCE) for headers in out.headers] == [f"raw/{n % 4}/{100 + n}" for n in (0, 1, 3, 4)]
    assert header_text(out.headers[0], SCORE) is None
    assert out.keys[0] == b"key 0"


def test_a_batch_without_a_usable_record_gives_nothing() -> None:
    assert len(cleaned(batch([b"x", b""]))[1]) == 0


number = st.one_of(st.none(), st.floats(width=32, allow_nan=False, allow_infinity=False))
row = st.lists(number, min_size=3, max_size=3)
named = st.dictionaries(st.sampled_from(CHANNELS), number)
block = st.lists(row, min_size=1, max_size=3)
named_block = block.map(lambda rows: {name: [r[c] for r in rows] for c, name in enumerate(CHANNELS)})
styles = st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :  ")])


@st.composite
def raws(draw: st.DrawFn) -> bytes:
    """A good record of any shape and style, with other fields around the values."""
    values = draw(st.one_of(row, named, block, named_block))
    others: list[dict[str, Any]] = [{}, {"values of": "x"}, {"k": "values"}, {"m": {"values": [1]}}, {"ü": '\\"{}[]'}]
    more = draw(st.sampled_from(others))
    fields = {"stream": "s", "timestamp": KAFKA_MS, "interval_ms": 1, "values": values, **more}
    names = draw(st.permutations(list(fields)))
    ascii_only = draw(st.booleans())
    return json.dumps({name: fields[name] for name in names}, separators=draw(styles), ensure_ascii=ascii_only).encode()


@given(st.lists(raws(), max_size=5), st.data())
def test_decoding_what_was_encoded_gives_the_answers_and_nothing_else_changed(values: list[bytes], data: Any) -> None:
    records = batch(values)
    count = len(CODEC.decode(records).samples)
    x_hat = np.array(
        [data.draw(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3))]
        * count,
        np.float32,
    ).reshape(count, 3)
    decoded, out = cleaned(records, x_hat)
    assert decoded.rejections == []
    again = CODEC.decode(batch(out.values))
    np.testing.assert_array_equal(again.samples.values, x_hat)
    np.testing.assert_array_equal(again.samples.row, decoded.samples.row)
    np.testing.assert_array_equal(again.layout.shape, decoded.layout.shape)
    for index, (before, after) in enumerate(zip(values, out.values, strict=True)):
        assert after is not None
        assert before[: decoded.layout.start[index]] == after[: again.layout.start[index]]
        assert before[decoded.layout.end[index] :] == after[again.layout.end[index] :]


def flagged(score: Sequence[float], streams: Sequence[str]) -> FlaggedSamples:
    count = len(score)
    number = np.arange(count)
    observed = np.tile(np.array([1.5, math.nan, 3], np.float32), (count, 1))
    return FlaggedSamples(
        streams,
        number + 1_700_000_000_123,
        number + KAFKA_MS,
        number.astype(np.int32),
        number + 100,
        ["open", "close"] * count,
        np.array(score, np.float64),
        np.full(count, 3.5),
        [None, "7"][:count],
        np.full(count, 1e-4),
        observed,
        np.tile(np.array([1.25, 2, 3], np.float32), (count, 1)),
        np.tile(np.array([0.25, 0.5, 0.25], np.float32), (count, 1)),
    )


def test_a_flagged_record_is_complete_in_itself() -> None:
    out = encode_flagged("flagged", flagged([7.5], ["pump ü"]), "raw", CODEC, MODEL_3)
    assert json.loads(out.values[0] or b"") == {
        "schema": "stream-ae/flagged/1",
        "stream": "pump ü",
        "timestamp": "2023-11-14T22:13:20.123Z",
        "timestamp_ms": 1_700_000_000_123,
        "state": "open",
        "score": 7.5,
        "non_finite": False,
        "threshold": 3.5,
        "p_value": 1e-4,
        "channels": [
            {"name": "b%", "observed": None, "expected": 2.0, "share": 0.5},
            {"name": "a", "observed": 1.5, "expected": 1.25, "share": 0.25},
            {"name": "c", "observed": 3.0, "expected": 3.0, "share": 0.25},
        ],
        "model": {"name": "pump", "version": "3"},
        "profile": None,
        "source": {"topic": "raw", "partition": 0, "offset": 100},
    }
    assert out.keys == ["pump ü".encode()]
    assert out.partition.tolist() == [-1]
    assert out.timestamp_ms.tolist() == [KAFKA_MS]


@pytest.mark.parametrize("score", [math.inf, math.nan])
def test_a_score_that_is_not_finite_is_valid_json(score: float) -> None:
    out = encode_flagged("flagged", flagged([1.0, score], ["s", "t"]), "raw", CODEC, MODEL_3)
    event = json.loads(out.values[1] or b"")
    assert event["score"] is None
    assert event["non_finite"] is True
    assert event["state"] == "close"


def test_at_most_five_channels_are_reported() -> None:
    one = flagged([1.0], ["s"])
    share = np.array([[0, 0.1, 0.2, 0.3, 0.15, 0.05, 0.2]], np.float32)
    wide = replace(one, observed=share, expected=share, share=share)
    out = encode_flagged("flagged", wide, "raw", JsonCodec(tuple("abcdefg"), DecodeSettings()), MODEL_3)
    assert [channel["name"] for channel in json.loads(out.values[0] or b"")["channels"]] == ["d", "c", "g", "e", "b"]


def test_a_dead_letter_is_the_original_with_the_reason() -> None:
    theirs: list[Headers] = [(), (("trace", b"\xff"), (SOURCE, b"first/0/1"), (SCORE, b"7")), ()]
    records = batch([b"x", b"\xffbytes", None], theirs)
    rejections = [Rejection(0, Reason.NOT_JSON, "not JSON"), Rejection(1, Reason.NOT_UTF8, "ü \ud800")]
    out = encode_dead_letters("dead", records, rejections, "stream-ae/0.1.0")
    assert out.topic == "dead"
    assert out.values == [b"x", b"\xffbytes"]
    assert out.keys == [b"key 0", None]
    assert out.timestamp_ms.tolist() == [KAFKA_MS, KAFKA_MS + 1]
    assert out.partition.tolist() == [-1, -1]
    assert list(out.headers[1]) == [
        ("trace", b"\xff"),
        (SCORE, b"7"),
        (SOURCE, b"raw/1/101"),
        ("stream-ae-reason", b"not_utf8"),
        ("stream-ae-exception", "ü \\ud800".encode()),
        ("stream-ae-software", b"stream-ae/0.1.0"),
    ]
