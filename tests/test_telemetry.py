"""Logging: a constant message plus fields, one line each, in UTC."""

import logging

import pytest

from stream_ae.telemetry import KeyValueFormatter, Log


def test_fields_follow_the_message_and_text_with_spaces_is_quoted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="stream_ae"):
        Log("worker").info("model swapped", name="pump", reason="first one", load_s=0.25)
    line = KeyValueFormatter().format(caplog.records[0])
    assert line.endswith('INFO stream_ae.worker model swapped name=pump reason="first one" load_s=0.25')


def test_a_traceback_comes_after_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        Log("worker").exception("thread died", thread="control")
    lines = KeyValueFormatter().format(caplog.records[0]).splitlines()
    assert lines[0].endswith("thread died thread=control")
    assert lines[-1] == "ValueError: boom"
