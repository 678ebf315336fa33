"""The demo's report: numbers that can be checked by head, a picture and a page that need nothing else."""

import io
from dataclasses import replace

import matplotlib.image
import numpy as np
import orjson
import pytest
from rich.console import Console

from stream_ae.localdev.page import html
from stream_ae.localdev.picture import most_telling, png
from stream_ae.localdev.report import (
    Answered,
    FlaggedEvent,
    Numbers,
    events_found,
    false_alarms_per_10k,
    lines,
    spans,
    table,
)
from stream_ae.records import Bool

NUMBERS = Numbers(
    1000, 990, 12, 10, 0, 0, 3, 4, 8.04, 31.2, 120.9, 0.41, 6.0, 15.2, 23.4, "loss 2 (limit 1)", "38%", 19.6, 171.0
)  # fmt: skip


def marks(*on: int, of: int) -> Bool:
    found = np.zeros(of, np.bool_)
    found[list(on)] = True
    return found


def answered(stream: str, flag: Bool, label: Bool) -> Answered:
    n = len(flag)
    raw = np.tile(np.sin(np.arange(n, dtype=np.float32) / 9)[:, None], (1, 2))
    raw[label, 1] += 3
    cleaned = raw.copy()
    cleaned[label, 1] -= 2
    score = np.where(flag, 5.0, 0.5)
    version = np.where(np.arange(n) < n // 2, 1, 2)
    times = np.arange(n, dtype=np.int64) * 300_000
    return Answered(stream, ("calm", "guilty"), times, raw, cleaned, score, np.full(n, 2.0), flag, label, version)


def test_an_event_is_found_if_one_of_its_samples_is_flagged() -> None:
    a = answered("a", flag=marks(3, of=10), label=marks(2, 3, 7, of=10))
    b = answered("b", flag=marks(of=10), label=marks(0, 1, of=10))
    assert events_found([a, b]) == (1, 3)


def test_false_alarms_count_unlabelled_samples_only() -> None:
    a = answered("a", flag=marks(0, 5, of=12), label=marks(5, 6, of=12))
    assert false_alarms_per_10k([a]) == pytest.approx(10_000 / 10)
    assert false_alarms_per_10k([answered("a", marks(1, of=2), marks(0, 1, of=2))]) == 0


def test_spans_reach_to_both_ends() -> None:
    assert spans(marks(0, 1, 4, of=5)) == [(0, 2), (4, 5)]
    assert spans(marks(of=3)) == []


def test_the_json_has_exactly_the_promised_keys() -> None:
    assert list(orjson.loads(NUMBERS.as_json())) == [
        "records_in",
        "cleaned",
        "flagged",
        "dead_letters",
        "lost",
        "doubled",
        "events_found",
        "events_total",
        "false_alarms_per_10k",
        "latency_p50_ms",
        "latency_p99_ms",
        "reload_s",
        "snr_in_db",
        "snr_out_db",
        "relearnt_s",
        "refused",
        "rolled_back",
        "startup_s",
        "total_s",
    ]


def test_the_table_shows_every_number_in_words() -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table(lines(NUMBERS)))
    shown = console.export_text()
    for text in ("1,000", "3 of 4", "31 / 121 ms", "0.41 s", "171 s"):
        assert text in shown


def test_the_picture_shows_the_channel_and_the_event_that_tell_most() -> None:
    well = answered("well", flag=marks(*range(500, 510), of=1000), label=marks(*range(500, 510), of=1000))
    badly = answered("badly", flag=marks(*range(0, 400, 3), of=1000), label=marks(*range(200, 210), of=1000))
    stretch = most_telling([badly, well])
    assert stretch.stream.stream == "well"
    assert stretch.begin < 500 < 510 < stretch.end
    assert stretch.stream.channels[stretch.channel] == "guilty"


def test_the_picture_is_drawn_whatever_there_is() -> None:
    one = answered("one", flag=marks(50, of=100), label=marks(49, 50, of=100))
    silent = replace(one, stream="silent", flag=marks(of=100), label=marks(of=100))
    endless = replace(one, stream="endless", score=np.where(one.flag, np.inf, 0.0), threshold=np.full(100, np.nan))
    for streams in ([one], [silent], [one, silent, endless]):
        pixels = matplotlib.image.imread(io.BytesIO(png(streams)), format="png")
        assert pixels.shape[1] == 1500


def test_the_page_needs_nothing_else_and_escapes_what_it_shows() -> None:
    events = [FlaggedEvent(f"s{n}<b>", 0, 300_000, float(n), ("cpu",), n == 1) for n in range(40)]
    page = html(lines(NUMBERS), b"\x89PNG", events, "A & B")
    assert "data:image/png;base64,iVBORw" in page
    assert "http" not in page
    assert "A &amp; B" in page
    assert "s39&lt;b&gt;" in page
    assert "s0&lt;b&gt;" not in page
    assert "25 of 40 events" in page
