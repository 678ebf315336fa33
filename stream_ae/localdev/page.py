"""The demo's report as one HTML file that needs nothing else: numbers, picture, flagged events."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from stream_ae.localdev.report import FlaggedEvent, Line

EVENTS_SHOWN = 25

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; } td, th { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; font-weight: 600; }
tr { border-bottom: 1px solid #8884; } .dim { opacity: .7; } .wrong { color: #d32f2f; }
img { width: 100%; background: #fff; border-radius: 6px; }
"""


def html(lines: Sequence[Line], picture: bytes, events: Sequence[FlaggedEvent], story: str) -> str:
    """The page. `picture` is PNG; of `events` the ones with the highest scores are shown."""
    image = base64.b64encode(picture).decode()
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>stream-ae demo</title><style>{STYLE}</style></head>
<body>
<h1>stream-ae: what the demo measured</h1>
<p>{escape(story)}</p>
<table>{"".join(_row(line) for line in lines)}</table>
<h2>Raw against cleaned, score against threshold, flags against labels</h2>
<img alt="raw and cleaned values, scores with their threshold, and all flags and labels" \
src="data:image/png;base64,{image}">
<h2>Flagged events with the highest scores</h2>
{_events(events)}
</body>
</html>
"""


def _row(line: Line) -> str:
    wrong = " wrong" if line.name in ("lost", "doubled") and line.value != "0" else ""
    return (
        f'<tr><td>{escape(line.name)}</td><td class="number{wrong}">{escape(line.value)}</td>'
        f'<td class="dim">{escape(line.meaning)}</td></tr>'
    )


def _events(events: Sequence[FlaggedEvent]) -> str:
    if not events:
        return "<p>None.</p>"
    shown = sorted(events, key=lambda event: event.peak_score, reverse=True)[:EVENTS_SHOWN]
    head = "<tr><th>stream</th><th>from</th><th>to (UTC)</th><th>peak score</th><th>channels</th><th>labelled</th></tr>"
    rows = "".join(
        f"<tr><td>{escape(event.stream)}</td><td>{_when(event.begin_ms)}</td><td>{_when(event.end_ms)}</td>"
        f'<td class="number">{event.peak_score:.3g}</td><td>{escape(", ".join(event.channels))}</td>'
        f"<td>{'yes' if event.labelled else 'no'}</td></tr>"
        for event in shown
    )
    more = f'<p class="dim">{len(shown)} of {len(events)} events.</p>' if len(events) > len(shown) else ""
    return f"<table>{head}{rows}</table>{more}"


def _when(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
