"""`backfill`: a span of the raw topic again, through a chosen version."""

from pathlib import Path
from typing import Annotated

import typer

from stream_ae.cli.context import progress_bars, saying, settings

VersionOption = Annotated[str, typer.Option("--version", help="A number of `models list`, or champion.")]
ProfilesOption = Annotated[
    str | None, typer.Option("--profiles", help="Version of the streams' profiles, or champion; default: none.")
]
From = Annotated[
    str | None, typer.Option("--from", help="First Kafka time, such as 2026-11-01T00:00Z; default: the oldest record.")
]
To = Annotated[str | None, typer.Option("--to", help="Kafka time before which it ends; default: the newest record.")]
Offsets = Annotated[
    str | None, typer.Option("--offsets", help="In place of times: partition:first-end, such as 0:17-900,1:0-450.")
]
ToTopics = Annotated[
    str | None, typer.Option("--to-topics", metavar="SUFFIX", help="Into cleaned-SUFFIX, flagged-SUFFIX and so on.")
]
ToParquet = Annotated[
    Path | None, typer.Option("--to-parquet", metavar="FOLDER", help="Into Parquet files, a row a sample.")
]
Replication = Annotated[int, typer.Option(min=1, help="Copies of topics that are created.")]


def backfill(
    context: typer.Context,
    version: VersionOption = "champion",
    profiles: ProfilesOption = None,
    from_: From = None,
    to: To = None,
    offsets: Offsets = None,
    to_topics: ToTopics = None,
    to_parquet: ToParquet = None,
    replication: Replication = 1,
) -> None:
    """Score and denoise a span of the raw topic again with a chosen version, into topics or Parquet files.

    What comes out is what workers with this version write. Ended at any moment, the same command goes on from there.

    Exit codes: 0 done, 2 configuration or refused, 4 the version or the records cannot be used, 5 another backfill
    into these topics is running, 7 a server is away, 130 interrupted.
    """
    from jobs.backfill import Progress, request_of, run

    request = request_of(version, profiles, (from_, to, offsets), (to_topics, to_parquet), replication)
    effective = settings(context)
    with progress_bars() as bars:
        answering = bars.add_task("answering", total=None)
        progress = Progress(
            say=saying(bars),
            answered=lambda done, total: bars.update(answering, total=total, completed=done),
        )
        raise typer.Exit(run(effective, request, progress))
