"""`stream-ae demo --keep` up to the moment when it shows everything, and its end by Ctrl-C."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import environ
from pathlib import Path

from tests.end_to_end.world import eventually

SHOWN_WITHIN_S, ENDED_WITHIN_S = 800.0, 120.0


@contextmanager
def kept_demo(
    said: Path, options: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """The process, whose output goes to `said`, and the address of its MLflow. It is interrupted at the end."""
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "stream_ae.cli", "demo", "--keep", *options],
            env={**environ, **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_interruptible,
        )

    def shown() -> bool:
        assert process.poll() is None, said.read_text()[-2000:]
        return "Ctrl-C ends it all" in said.read_text()

    try:
        eventually(shown, "the demo shows everything", SHOWN_WITHIN_S, every_s=0.5)
        address = re.search(r"STREAM_AE_MLFLOW__TRACKING_URI=(\S+)", said.read_text())
        assert address is not None
        yield process, address[1]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(ENDED_WITHIN_S)


def _interruptible() -> None:
    """Ctrl-C counts, also where whoever started this in the background has it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
