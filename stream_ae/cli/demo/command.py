"""The `demo` command: servers, story, report, and how to look at it afterwards."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from stream_ae.cli.context import console


def demo(
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the numbers here as JSON.")] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The picture (PNG) and the page (HTML) go here.")] = Path(
        "stream-ae-demo"
    ),
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything up afterwards, until Ctrl-C.")] = False,
    rate: Annotated[
        float | None, typer.Option(min=1, help="Records a second; by default a stream of twice a training's length.")
    ] = None,
    machines: Annotated[int, typer.Option(min=1, max=6, help="How many of the six servers to stream.")] = 6,
) -> None:
    """Watch real telemetry being denoised and its anomalies flagged, and the model replaced under load.

    Starts a real Kafka, Valkey and MLflow on loopback; trains version 1 from a topic; runs two workers; streams
    labelled data through them; trains version 2 and swaps it in meanwhile; throws in broken records; audits that every
    record left exactly one trace; writes a report. Needs no other server, and Ctrl-C leaves nothing behind.
    """
    _check(report, out)
    from stream_ae.cli.demo.run import Wanted, run
    from stream_ae.clock import SystemClock

    clean = run(Wanted(report, out, keep, rate, machines), SystemClock(), console())
    raise typer.Exit(0 if clean else 1)


def demo_images(
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the numbers here as JSON.")] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The picture (PNG) goes here.")] = Path("stream-ae-demo"),
) -> None:
    """Watch a camera's noisy frames being cleaned and the defects among them flagged.

    Starts a real Kafka, Valkey and MLflow on loopback; learns from 700 noisy frames of a topic, without a clean one;
    sends 500 more, some with a scratch, a blot or a hole, through two workers; audits, and compares with the truth.
    Needs no other server, and Ctrl-C leaves nothing behind.
    """
    _check(report, out)
    from stream_ae.cli.demo.frames import run
    from stream_ae.cli.demo.run import quiet
    from stream_ae.clock import SystemClock

    quiet()
    clean = run(report, out, SystemClock(), console())
    raise typer.Exit(0 if clean else 1)


def _check(report: Path | None, out: Path) -> None:
    """Refuse now what would otherwise fail at the end."""
    from stream_ae.errors import ConfigError

    if find_spec("matplotlib") is None:
        raise ConfigError("the demo needs the embedded servers and matplotlib: pip install 'stream-ae[local]'")
    for file in (out, *([report] if report else [])):
        if not file.absolute().parent.is_dir():
            raise ConfigError(f"cannot write {file}: there is no folder {file.absolute().parent}")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file: name a folder")
