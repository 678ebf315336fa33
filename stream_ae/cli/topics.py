"""`topics`: the topics of a pipeline."""

from typing import Annotated

import typer

from stream_ae.cli.context import settings

app = typer.Typer(help="Create the topics of a pipeline.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Create the topics of a pipeline."""


@app.command()
def create(
    context: typer.Context,
    partitions: Annotated[int, typer.Option(min=1, help="As many workers can share the work.")] = 3,
    replication: Annotated[int, typer.Option(min=1, help="Copies; 3 on a cluster that must not lose data.")] = 1,
) -> None:
    """Create raw, cleaned, flagged and dead-letters, and latent and feedback where set (names by settings).

    Those that exist are left as they are. A cleaned record keeps the partition of its raw record: where raw exists
    with more partitions than asked for, the new topics get as many as raw has.
    """
    from stream_ae.kafka.admin import TopicSpec, create_topics, partition_count

    effective = settings(context)
    enough = max(partitions, partition_count(effective.kafka, effective.topics.raw))
    names = effective.topics.names()
    # What operators said stays true: it is little, and Kafka's week would be over before some retrainings.
    forever = {effective.topics.feedback: {"retention.ms": "-1"}}
    specs = [TopicSpec(name, enough, replication, forever.get(name, {})) for name in names]
    done = create_topics(effective.kafka, specs)
    for name in done.created:
        typer.echo(f"created {name} ({enough} partitions)")
    for name in done.existed:
        typer.echo(f"exists  {name}")
