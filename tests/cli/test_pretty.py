"""One record, one line: what a person must see of cleaned, flagged and dead-letter records, whatever they hold."""

import json

import numpy as np
import pytest

from stream_ae.cli.pretty import as_json_line, as_text
from stream_ae.records import Headers, RecordBatch

FLAGGED = {
    "stream": "pump-1",
    "timestamp": "2026-01-01T00:00:00.000Z",
    "state": "open",
    "score": 3.5,
    "threshold": 2.3,
    "channels": [{"name": "flow", "observed": 9.0, "expected": 1.25, "share": 0.75}],
    "model": {"name": "pumps", "version": "3"},
}


def record(value: bytes | None, headers: Headers = (), key: bytes | None = b"pump-1", time_ms: int = 0) -> RecordBatch:
    return RecordBatch(
        "topic", np.array([2], np.int32), np.array([7]), np.array([time_ms]), [key], [value], [tuple(headers)]
    )


def test_a_cleaned_record_shows_stream_values_score_and_model() -> None:
    headers = [("stream-ae-score", b"2.5"), ("stream-ae-flag", b"1"), ("stream-ae-model", b"pumps/3")]
    shown = as_text("cleaned", record(b'{"stream":"pump-1","values":{"flow":1.23456,"heat":null}}', headers), 0).plain
    assert shown == "1970-01-01T00:00:00.000Z  pump-1  flow=1.235 heat=-  score 2.5  anomaly  pumps/3"


def test_a_frame_is_named_by_what_it_is() -> None:
    headers = [("stream", b"roof"), ("stream-ae-score", b"0.5"), ("stream-ae-flag", b"0")]
    shown = as_text("cleaned", record(b"\x89PNG\r\n\x1a\n" + b"\0" * 92, headers), 0).plain
    assert "  roof  PNG (100 bytes)  score 0.5" in shown


def test_a_flagged_frame_shows_the_size_and_the_place_of_its_worst_region() -> None:
    region = {"x": 4, "y": 1, "width": 3, "height": 2, "error": 9.0}
    shown = as_text("flagged", record(json.dumps(FLAGGED | {"regions": [region]}).encode()), 0).plain
    assert "3 x 2 pixels at 4 x 1" in shown


def test_a_flagged_record_shows_state_score_and_guilty_channels() -> None:
    shown = as_text("flagged", record(json.dumps(FLAGGED).encode()), 0).plain
    for text in ("open", "pump-1", "score 3.5 (threshold 2.3)", "flow 9, expected 1.25 (75%)", "pumps/3"):
        assert text in shown


def test_a_dead_letter_shows_reason_source_and_the_beginning_of_its_bytes() -> None:
    headers = [("stream-ae-reason", b"not_json"), ("stream-ae-source", b"raw/2/7"), ("stream-ae-exception", b"why")]
    shown = as_text("dead-letters", record(b"\xff\n" + b"x" * 200, headers), 0).plain
    for text in ("not_json", "raw/2/7", "why", "\\xff", "(202 bytes)"):
        assert text in shown
    assert "\n" not in shown


@pytest.mark.parametrize("which", ["raw", "cleaned", "flagged", "dead-letters"])
@pytest.mark.parametrize("value", [None, b"", b"\xff\xfe", b"[1,2]", b'{"values":[1,2,3]}', b"NaN", b'{"state":"?"}'])
def test_any_bytes_are_shown_on_one_line(which: str, value: bytes | None) -> None:
    batch = record(value, key=None, time_ms=-1)
    assert "\n" not in as_text(which, batch, 0).plain
    assert json.loads(as_json_line(batch, 0))["offset"] == 7


def test_json_embeds_json_and_keeps_other_bytes_as_text() -> None:
    line = json.loads(as_json_line(record(b'{"a":1}', [("h", b"\xff")]), 0))
    assert line["value"] == {"a": 1}
    assert line["headers"] == {"h": "\\xff"}
    assert (line["topic"], line["partition"], line["key"]) == ("topic", 2, "pump-1")
    assert json.loads(as_json_line(record(b"no json"), 0))["value"] == "no json"
