"""What a retraining tells a person when it has ended."""

from io import StringIO

from rich.console import Console

from jobs.summary import Summary
from stream_ae.cli.run import summary_lines
from stream_ae.training.gate import Criterion, Verdict


def _summary() -> Summary:
    found = Summary({"span": "0:0-600 of raw", "version": "pumps/3"})
    criteria = Criterion("loss", 0.5, 0.6, 0.63, True), Criterion("false alarms", 0.4, 0.01, 0.015, False)
    found.judged(Verdict(False, "worse: false alarms", criteria))
    return found


def _printed(terminal: bool) -> str:
    out = StringIO()
    summary_lines(_summary(), Console(file=out, force_terminal=terminal, width=100, highlight=False))
    return out.getvalue()


def test_without_a_terminal_it_is_plain_lines() -> None:
    assert _printed(terminal=False).splitlines() == [
        "span: 0:0-600 of raw",
        "version: pumps/3",
        "verdict: worse",
        "loss: passed  0.5 against the champion's 0.6 (limit 0.63)",
        "false alarms: failed  0.4 against the champion's 0.01 (limit 0.015)",
    ]


def test_on_a_terminal_criteria_are_in_colour() -> None:
    text = _printed(terminal=True)
    assert "\x1b[31mfailed" in text
    assert "\x1b[32mpassed" in text
