"""Every command by name and group: the table of contents of `stream-ae --help`."""

from pathlib import Path
from typing import Annotated

import typer

from stream_ae.cli import (
    audit,
    backfill,
    config,
    demo,
    feedback,
    models,
    replay,
    run,
    score,
    status,
    tail,
    topics,
    train,
    up,
)
from stream_ae.cli.context import Options

TRY = "Try it"
RUN = "Run it"
MODELS = "Models"
LOOK = "Look at it"

MANUAL = (
    "Denoise streams and flag anomalies with autoencoders, on Kafka.\n\n"
    "[bold]raw[/bold] topic → workers → [bold]cleaned[/bold] topic (every record, denoised), [bold]flagged[/bold] "
    "topic (anomalies, explained) and [bold]dead-letters[/bold] topic (what could not be read). "
    "Models live in MLflow and are replaced while running.\n\n"
    "New here? [bold]stream-ae demo[/bold] shows all of it on real servers on this machine, within minutes."
)

EPILOG = (
    "[bold]Settings[/bold] come from --config FILE (YAML), each overridable by environment: "
    "STREAM_AE_KAFKA__BOOTSTRAP_SERVERS=host:9092 is kafka.bootstrap_servers. check-config shows them all.\n\n"
    "[bold]Exit codes[/bold]: 0 done; 1 failed, or audit found lost or doubled records; 2 wrong usage or "
    "configuration; 75 a worker that is to be started again; 130 interrupted. retrain, adapt and backfill "
    "add their own: see retrain --help."
)

app = typer.Typer(
    help=MANUAL,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"stream-ae {version('stream-ae')}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="YAML file of settings (or STREAM_AE_CONFIG).")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    context.obj = Options(config)


app.command(rich_help_panel=TRY)(demo.demo)
app.command(rich_help_panel=TRY)(demo.demo_images)
app.command(rich_help_panel=TRY)(up.up)
app.command(rich_help_panel=TRY)(replay.replay)
app.add_typer(topics.app, name="topics", rich_help_panel=RUN)
app.command(rich_help_panel=RUN)(run.worker)
app.command(rich_help_panel=RUN)(run.retrain)
app.command(rich_help_panel=RUN)(run.adapt)
app.command(rich_help_panel=RUN)(run.schedule)
app.command(rich_help_panel=RUN)(run.monitor)
app.command(rich_help_panel=RUN)(feedback.feedback)
app.command(rich_help_panel=RUN)(backfill.backfill)
app.command(rich_help_panel=MODELS)(train.train)
app.add_typer(models.app, name="models", rich_help_panel=MODELS)
app.command(rich_help_panel=MODELS)(score.score)
app.command(rich_help_panel=MODELS)(score.denoise)
app.command(rich_help_panel=LOOK)(status.status)
app.command(rich_help_panel=LOOK)(tail.tail)
app.command(rich_help_panel=LOOK)(audit.audit)
app.command(rich_help_panel=LOOK)(config.check_config)
