"""One record as one line: coloured text for people, JSON for programs."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson
from rich.text import Text

from stream_ae.records import RecordBatch

STATE_STYLES = {"open": "bold red", "ongoing": "red", "close": "green"}
PREVIEW = 80
VALUES_SHOWN = 6
# How the files begin that frames come in.
IMAGES = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "npy": b"\x93NUMPY"}


def as_text(which: str, batch: RecordBatch, row: int) -> Text:
    """A line that fits the topic's role; a record of another shape is shown as it is."""
    match which:
        case "flagged":
            return _flagged(batch, row)
        case "dead-letters":
            return _dead_letter(batch, row)
        case _:
            return _sample(batch, row)


def as_json_line(batch: RecordBatch, row: int) -> str:
    """`topic, partition, offset, timestamp_ms, key, value, headers`; JSON values are embedded, other bytes are text."""
    record = {
        "topic": batch.topic,
        "partition": int(batch.partition[row]),
        "offset": int(batch.offset[row]),
        "timestamp_ms": int(batch.timestamp_ms[row]),
        "key": _text(batch.keys[row]),
        "value": _embedded(batch.values[row]),
        "headers": {name: _text(value) for name, value in batch.headers[row]},
    }
    return orjson.dumps(record).decode()


def _sample(batch: RecordBatch, row: int) -> Text:
    value, headers = _embedded(batch.values[row]), _headers(batch, row)
    line = Text(_time(batch, row), style="dim")
    if isinstance(value, dict):
        line.append(f"  {value.get('stream', _text(batch.keys[row]))}", "cyan")
        line.append(f"  {_values(value.get('values'))}", "default")
    else:
        line.append(f"  {headers.get('stream') or _text(batch.keys[row])}", "cyan")
        line.append(f"  {_preview(batch.values[row])}", "default")
    if "stream-ae-score" in headers:
        flagged = headers.get("stream-ae-flag") == "1"
        line.append(f"  score {headers['stream-ae-score']}", "bold red" if flagged else "green")
        line.append("  anomaly" if flagged else "", "bold red")
    return line.append(f"  {headers.get('stream-ae-model', '')}", "dim")


def _flagged(batch: RecordBatch, row: int) -> Text:
    value = _embedded(batch.values[row])
    if not isinstance(value, dict) or "state" not in value:
        return _sample(batch, row)
    state = str(value["state"])
    line = Text(str(value.get("timestamp", "")), style="dim")
    line.append(f"  {state:<7}", STATE_STYLES.get(state, "")).append(f"  {value.get('stream')}", "cyan")
    line.append(f"  score {_number(value.get('score'))} (threshold {_number(value.get('threshold'))})", "default")
    for channel in (value.get("channels") or [])[:3]:
        seen, expected = _number(channel.get("observed")), _number(channel.get("expected"))
        line.append(f"  {channel.get('name')}", "yellow")
        line.append(f" {seen}, expected {expected} ({_share(channel.get('share'))})", "default")
    for region in (value.get("regions") or [])[:1]:
        size, where = (f"{region.get(a)} x {region.get(b)}" for a, b in (("width", "height"), ("x", "y")))
        line.append(f"  {size} pixels at {where}", "yellow")
    model = value.get("model") or {}
    return line.append(f"  {model.get('name')}/{model.get('version')}", "dim")


def _dead_letter(batch: RecordBatch, row: int) -> Text:
    headers = _headers(batch, row)
    line = Text(_time(batch, row), style="dim")
    line.append(f"  {headers.get('stream-ae-reason', 'no reason given')}", "bold yellow")
    line.append(f"  {headers.get('stream-ae-source', '')}", "dim")
    line.append(f"  {headers.get('stream-ae-exception', '')}", "default")
    return line.append(f"  {_preview(batch.values[row])}", "dim")


def _headers(batch: RecordBatch, row: int) -> Mapping[str, str]:
    return {name: _text(value) or "" for name, value in batch.headers[row]}


def _embedded(value: bytes | None) -> Any:
    try:
        return msgspec.json.decode(value) if value else _text(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _text(value)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


def _preview(value: bytes | None) -> str:
    """The beginning of any bytes on one line; `(null)` for a tombstone."""
    if value is None:
        return "(null)"
    for name, magic in IMAGES.items():
        if value.startswith(magic):
            return f"{name} ({len(value):,} bytes)"
    shown = value[:PREVIEW].decode(errors="backslashreplace").encode("unicode_escape").decode()
    return shown + (f"... ({len(value):,} bytes)" if len(value) > PREVIEW else "")


def _values(values: object) -> str:
    if isinstance(values, dict):
        shown = [f"{name}={_number(value)}" for name, value in list(values.items())[:VALUES_SHOWN]]
    elif isinstance(values, list):
        shown = [_number(value) for value in values[:VALUES_SHOWN]]
    else:
        return _number(values)
    return " ".join(shown) + (" ..." if len(values) > VALUES_SHOWN else "")


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ("-" if value is None else str(value)[:PREVIEW])


def _share(value: object) -> str:
    return f"{value:.0%}" if isinstance(value, int | float) else "-"


def _time(batch: RecordBatch, row: int) -> str:
    moment_ms = int(batch.timestamp_ms[row])
    if moment_ms < 0:
        return "no time"
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
