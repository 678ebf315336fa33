"""`train`: a version from files, without Kafka."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_ae.cli.columns import ArrayOption, ChannelOption, ExcludeOption, StreamOption, TimestampOption, layout_of
from stream_ae.cli.context import progress_bars, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_ae.records import ModelVersion
    from stream_ae.settings import Settings
    from stream_ae.tables import Layout, Series
    from stream_ae.training import Epoch, Progress, Trained
    from stream_ae.training.images import TrainedImages
    from stream_ae.training.kinds import AnyTrained


def train(
    context: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(help="CSV, Parquet or npz: a row a sample; or images, or folders of them.")
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the version folder here.")] = None,
    register: Annotated[bool, typer.Option("--register", help="Register it in MLflow.")] = False,
    promote: Annotated[bool, typer.Option("--promote", help="Register it and have the workers swap to it.")] = False,
    timestamp_column: TimestampOption = None,
    stream_column: StreamOption = None,
    channel: ChannelOption = None,
    exclude: ExcludeOption = None,
    array: ArrayOption = None,
) -> None:
    """Train a model on files of mostly normal data: a folder that score reads and workers serve.

    The newest fifth of each stream is held out to calibrate the score. With decode.records: images the files are PNG,
    JPEG or npy frames of one size. Settings: training.*
    """
    from tempfile import TemporaryDirectory

    from stream_ae.errors import ConfigError
    from stream_ae.models.version import save

    if out is None and not (register or promote):
        raise ConfigError("nowhere to put the model: give --out FOLDER, --register or --promote")
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} exists and is not an empty folder: name another one with --out")
    effective = settings(context)
    lineage = {"source": ", ".join(file.name for file in files)}
    if effective.decode.records == "images":
        trained: AnyTrained = _train_frames(files, effective, lineage)
    else:
        series = _read_all(files, layout_of(timestamp_column, stream_column, channel, exclude, array))
        trained = _train(series, effective, lineage)
    with TemporaryDirectory(prefix="stream-ae-train-") as scratch:
        folder = out or Path(scratch) / "version"
        save(trained.detector, folder)
        _describe(trained, out)
        if register or promote:
            version = _register(trained, folder, effective)
            typer.echo(f"registered {version.name}/{version.version}")
    if promote:
        from stream_ae.cli.models import promote_version

        promote_version(effective, version, "trained from files")


def _read_all(files: list[Path], layout: "Layout") -> "list[Series]":
    """All files' series with the channels of the first file, in its order."""
    from stream_ae.tables import read, with_channels

    series: list[Series] = []
    for file in files:
        table = read(file, layout)
        layout = with_channels(layout, table.channels)
        if table.ignored:
            typer.echo(f"{file}: not used: {', '.join(table.ignored)}", err=True)
        series += table.series()
    return series


def _train(series: "list[Series]", effective: "Settings", lineage: dict[str, str]) -> "Trained":
    import torch

    from stream_ae.training import train

    torch.set_num_threads(effective.training.threads)
    with _shown(effective) as show:
        values = [one.values for one in series]
        return train(values, series[0].channels, effective.training, lineage=lineage, progress=show)


def _train_frames(files: list[Path], effective: "Settings", lineage: dict[str, str]) -> "TrainedImages":
    import torch

    from stream_ae.cli.frame_files import read_frames
    from stream_ae.training.images import train_frames
    from stream_ae.training.images.collect import colours

    torch.set_num_threads(effective.training.threads)
    frames = read_frames(files, effective.images)
    with _shown(effective) as show:
        return train_frames(frames, colours(frames.shape[1]), effective.training, lineage=lineage, progress=show)


@contextmanager
def _shown(effective: "Settings") -> "Iterator[Progress]":
    with progress_bars() as progress:
        task = progress.add_task("training", total=effective.training.max_epochs)

        def show(epoch: "Epoch") -> None:
            seen = f"training, validation loss {epoch.validation_loss:.4g}"
            progress.update(task, completed=epoch.number, total=epoch.of, description=seen)

        yield show


def _describe(trained: "AnyTrained", out: Path | None) -> None:
    from stream_ae.training import Trained

    report = trained.report
    if isinstance(trained, Trained):
        rows, streams = trained.report.rows, trained.report.streams
        what = f"{rows:,} rows of {streams} streams, {len(trained.detector.channels)} channels"
    else:
        _, height, width = trained.detector.frame
        what = f"{trained.report.frames:,} frames of {width} x {height} pixels ({', '.join(trained.detector.channels)})"
    typer.echo(
        f"trained on {what}: best epoch {report.best_epoch} of {report.epochs}, validation loss "
        f"{report.validation_loss:.4g}, threshold {report.threshold:.3g}"
    )
    typer.echo(f"cleaned by: {trained.tags()['stream_ae.denoiser']}")
    for warning in report.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if out is not None:
        typer.echo(f"saved {out}")


def _register(trained: "AnyTrained", folder: Path, effective: "Settings") -> "ModelVersion":
    from stream_ae.registry.store import MlflowStore
    from stream_ae.training.kinds import pictures_of

    store = MlflowStore(effective.mlflow, effective.pipeline)
    tags = {**trained.detector.lineage, **trained.tags()}
    return store.register(folder, tags, trained.report.metrics(), pictures_of(trained))
