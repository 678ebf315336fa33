"""`worker` and `retrain`: the two processes that a pipeline consists of."""

import typer

from stream_ae.cli.context import settings


def worker(context: typer.Context) -> None:
    """Answer raw records with the model in service until SIGTERM or Ctrl-C, then drain and commit.

    Start as many as there are partitions; Kafka shares the work among them. Models are replaced while running.
    /healthz, /readyz and /metrics answer at worker.http_host:http_port.
    """
    from stream_ae.worker.process import run_worker

    raise typer.Exit(run_worker(settings(context)))


def retrain(context: typer.Context) -> None:
    """Train on the newest span of the raw topic; register, promote if it is no worse, and roll out.

    One shot: run it by hand, from cron, or leave it to python -m jobs.schedule.
    """
    from jobs.retrain import run

    raise typer.Exit(run(settings(context)))
