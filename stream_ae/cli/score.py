"""`score` and `denoise`: a file in, a file out, by the model that workers serve."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from stream_ae.cli.columns import ArrayOption, ExcludeOption, StreamOption, TimestampOption, layout_of
from stream_ae.cli.context import settings

if TYPE_CHECKING:
    from stream_ae.models.detector import Detector
    from stream_ae.models.version import AnyDetector
    from stream_ae.records import Bool, Float32, Float64, Int64
    from stream_ae.settings import Settings
    from stream_ae.tables import Layout, Table

WINDOWS_AT_ONCE = 8192

FileArgument = Annotated[Path, typer.Argument(help="CSV, Parquet or npz: a row a sample, in time order.")]
OutArgument = Annotated[Path, typer.Argument(help="Where the result goes; its suffix names the format.")]
ModelOption = Annotated[Path | None, typer.Option("--model", "-m", help="A version folder, as train --out wrote it.")]
VersionOption = Annotated[
    str | None, typer.Option("--version", help="A version of MLflow; without --model or this: the champion.")
]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says of N rows, in the file's order."""

    x_hat: "Float32"
    score: "Float64"
    flag: "Bool"
    guiltiest: "Int64"


def score(
    context: typer.Context,
    file: FileArgument,
    out: OutArgument,
    model: ModelOption = None,
    version: VersionOption = None,
    timestamp_column: TimestampOption = None,
    stream_column: StreamOption = None,
    exclude: ExcludeOption = None,
    array: ArrayOption = None,
) -> None:
    """Add columns score, flag and channel (the guiltiest one) to a file's rows.

    A row's score is the one that a worker gives it: it depends on earlier rows of its stream only.
    """
    import numpy as np

    from stream_ae.tables import check_writable, write

    check_writable(out)
    with _detector(context, model, version) as detector:
        table = _read(file, detector, layout_of(timestamp_column, stream_column, None, exclude, array))
        answers = answer(detector, table)
    names = np.array(detector.channels)[answers.guiltiest]
    flag = answers.flag.astype(np.int8)
    write(table.frame.assign(score=answers.score, flag=flag, channel=names), out)
    typer.echo(
        f"{out}: {len(answers.flag):,} rows, {int(answers.flag.sum()):,} flagged (score > {detector.threshold:g})"
    )


def denoise(
    context: typer.Context,
    file: FileArgument,
    out: OutArgument,
    model: ModelOption = None,
    version: VersionOption = None,
    timestamp_column: TimestampOption = None,
    stream_column: StreamOption = None,
    exclude: ExcludeOption = None,
    array: ArrayOption = None,
) -> None:
    """Write a file again with its channels denoised and missing values filled in; all else stays as it is."""
    from stream_ae.tables import check_writable, write

    check_writable(out)
    with _detector(context, model, version) as detector:
        table = _read(file, detector, layout_of(timestamp_column, stream_column, None, exclude, array))
        answers = answer(detector, table)
    filled = int(table.frame[list(table.channels)].isna().to_numpy().sum())
    denoised = {name: answers.x_hat[:, index] for index, name in enumerate(table.channels)}
    write(table.frame.assign(**denoised), out)
    typer.echo(f"{out}: {len(answers.flag):,} rows denoised, {filled:,} missing values filled in")


def answer(detector: "Detector", table: "Table") -> Answers:
    """Score and denoise every row; streams do not see each other."""
    import numpy as np

    from stream_ae.flow.age import held_against
    from stream_ae.flow.decide import flagged
    from stream_ae.flow.window import windows_of

    count = len(table.frame)
    x_hat = np.empty((count, len(detector.channels)), np.float32)
    score = np.empty(count, np.float64)
    guiltiest = np.empty(count, np.int64)
    threshold = np.empty(count, np.float64)
    values = table.values()
    for rows in table.rows_of_streams().values():
        threshold[rows] = held_against(detector, detector.threshold, np.arange(len(rows)))
        windows = windows_of(values[rows], detector.window, detector.lookahead)
        for begin in range(0, len(rows), WINDOWS_AT_ONCE):
            some = slice(begin, begin + WINDOWS_AT_ONCE)
            inference = detector.infer(windows[some])
            x_hat[rows[some]], score[rows[some]] = inference.x_hat, inference.score
            guiltiest[rows[some]] = inference.share.argmax(1)
    return Answers(x_hat, score, flagged(score, threshold), guiltiest)


@contextmanager
def _detector(context: typer.Context, model: Path | None, version: str | None) -> "Iterator[Detector]":
    """The detector of a folder, or of a version fetched from MLflow into a folder that is removed afterwards."""
    from stream_ae.errors import ConfigError
    from stream_ae.models.version import load

    if model is not None and version is not None:
        raise ConfigError("--model and --version exclude each other: a folder, or a version of MLflow")
    if model is not None:
        if not model.is_dir():
            raise ConfigError(f"--model {model} is not a folder: name the one that train --out wrote")
        yield _of_rows(load(model))
        return
    with TemporaryDirectory(prefix="stream-ae-model-") as scratch:
        yield _of_rows(_fetched(settings(context), version or "champion", Path(scratch)))


def _of_rows(detector: "AnyDetector") -> "Detector":
    from stream_ae.errors import ConfigError
    from stream_ae.models.detector import Detector

    if not isinstance(detector, Detector):
        raise ConfigError(
            "this version is for frames, not for tables: in Python, AutoencoderDetector.load(FOLDER) answers arrays "
            "(N, C, H, W)"
        )
    return detector


def _fetched(effective: "Settings", version: str, scratch: Path) -> "AnyDetector":
    from stream_ae.cli.models import fetched
    from stream_ae.models.version import load
    from stream_ae.registry.store import MlflowStore

    found, folder = fetched(MlflowStore(effective.mlflow, effective.pipeline), version, scratch)
    return load(folder).with_identity(found.identity)


def _read(file: Path, detector: "Detector", layout: "Layout") -> "Table":
    """The file with the detector's channels; its times, if it has any, must not run backwards."""
    from stream_ae.tables import read, with_channels

    table = read(file, with_channels(layout, detector.channels))
    table.series()
    return table
