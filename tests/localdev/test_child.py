"""Children of the demo: their end is seen, their log is quoted, and they do not stay."""

import os
import threading
from pathlib import Path

import pytest

from stream_ae.clock import Deadline, SystemClock
from stream_ae.errors import TransientError
from stream_ae.localdev.child import Child


def finished(child: Child) -> int:
    clock = SystemClock()
    deadline, never = Deadline.after(clock, 60.0), threading.Event()
    while child.exit_code is None and not deadline.passed():
        clock.wait(never, 0.02)
    assert child.exit_code is not None
    return child.exit_code


def test_a_child_that_ends_well_is_done(tmp_path: Path) -> None:
    child = Child("version", ["--version"], tmp_path / "log", os.environ)
    assert finished(child) == 0
    assert child.check_done()
    assert "stream-ae 0." in (tmp_path / "log").read_text()
    child.stop()


def test_a_child_that_fails_is_an_error_that_quotes_its_log(tmp_path: Path) -> None:
    child = Child("wrong", ["check-config"], tmp_path / "log", os.environ | {"STREAM_AE_NONSENSE": "1"})
    assert finished(child) == 2
    with pytest.raises(TransientError, match="wrong failed with exit code 2.*\n.*STREAM_AE_NONSENSE"):
        child.check_done()
    with pytest.raises(TransientError, match="wrong ended with exit code 2"):
        child.check_running()


def test_a_child_is_ended_on_demand(tmp_path: Path) -> None:
    child = Child("up", ["up", "--help"], tmp_path / "log", os.environ)
    child.stop()
    assert child.exit_code is not None
    child.stop()
