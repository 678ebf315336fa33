"""`audit`: proof that every raw record left exactly one trace."""

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from stream_ae.cli.context import console, progress_console, settings

if TYPE_CHECKING:
    from rich.table import Table

    from stream_ae.clock import Clock
    from stream_ae.flow.audit import AuditReport
    from stream_ae.ports import OffsetRange, RecordReader
    from stream_ae.settings import Settings

SETTLE_S = 3.0
LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Audited:
    """The report on all records that the group has committed; `pending` are those after them."""

    report: "AuditReport"
    pending: int


def audit(
    context: typer.Context,
    wait_s: Annotated[float, typer.Option(min=0, help="Wait this long for the workers to catch up.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read raw, cleaned and dead letters whole and prove that every raw record left exactly one trace.

    Exits with 1 if a record is lost or doubled. Only what the workers have committed is judged. Run it while the
    outputs are as old as the raw topic: what retention has taken from them counts as lost.
    """
    from stream_ae.clock import SystemClock
    from stream_ae.kafka.admin import check_topics
    from stream_ae.kafka.driver import open_reader

    effective = settings(context)
    topics = effective.topics
    check_topics(effective.kafka, reads=[topics.raw, topics.cleaned, topics.dead_letters])
    reader = open_reader(effective.kafka)
    try:
        with progress_console().status("reading raw, cleaned and dead letters"):
            audited = run_audit(reader, effective, SystemClock(), wait_s)
    finally:
        reader.close()
    if as_json:
        import orjson

        report = asdict(audited.report) | {"pending": audited.pending}
        typer.echo(orjson.dumps(report, default=str, option=orjson.OPT_INDENT_2).decode())
    else:
        console().print(drawn(audited))
    raise typer.Exit(0 if audited.report.clean else 1)


def run_audit(reader: "RecordReader", effective: "Settings", clock: "Clock", wait_s: float) -> Audited:
    """Audit what the raw topic holds now, once the group has committed it or `wait_s` has passed.

    With exactly_once, what seems lost then has as long again to be seen.
    """
    from stream_ae.clock import Deadline
    from stream_ae.flow.audit import audit as compare

    topics, never = effective.topics, threading.Event()
    raw = reader.ranges(topics.raw)
    judged = _committed_part(reader, effective, raw, clock, wait_s)

    def compared() -> "AuditReport":
        outputs = (reader.read(reader.ranges(topic)) for topic in (topics.cleaned, topics.dead_letters))
        return compare(reader.read(judged), *outputs)

    report, deadline = compared(), Deadline.after(clock, max(wait_s, SETTLE_S))
    # A committed transaction shows partition by partition: an offset may be seen a moment before its output. And behind
    # what a killed worker left open, nothing is seen before it has timed out.
    while report.lost and effective.delivery == "exactly_once" and not deadline.passed():
        clock.wait(never, min(SETTLE_S, deadline.left_s()))
        report = compared()
    return Audited(report, sum(each.end for each in raw) - sum(each.end for each in judged))


def drawn(audited: Audited) -> "Table":
    """The report in words."""
    from rich.table import Table

    report = audited.report
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    bad = "bold red"
    table.add_row("raw", f"{report.raw:,}", "records that the workers have committed")
    table.add_row("cleaned", f"{report.cleaned:,}", "")
    table.add_row("dead letters", f"{report.dead_letters:,}", "")
    first = f"the first is {report.first_lost}" if report.first_lost else "raw records without a trace"
    table.add_row("lost", f"{report.lost:,}", first, style=bad if report.lost else "green")
    first = f"the first is {report.first_doubled}" if report.first_doubled else "raw records with more than one trace"
    table.add_row("doubled", f"{report.doubled:,}", first, style=bad if report.doubled else "green")
    if report.foreign:
        table.add_row(
            "foreign", f"{report.foreign:,}", "outputs of records that are not committed, deleted or elsewhere"
        )
    if audited.pending:
        table.add_row("pending", f"{audited.pending:,}", "raw records not answered yet: see stream-ae status")
    return table


def _committed_part(
    reader: "RecordReader", effective: "Settings", raw: "Sequence[OffsetRange]", clock: "Clock", wait_s: float
) -> "list[OffsetRange]":
    """The part of `raw` that the group has committed for certain, after at most `wait_s` of waiting for all of it."""
    from stream_ae.clock import Deadline
    from stream_ae.kafka.admin import group_lag
    from stream_ae.ports import OffsetRange

    deadline, never = Deadline.after(clock, wait_s), threading.Event()
    while True:
        # The end is looked up before the lag: with records still coming in, end - lag is never beyond the commit.
        ends = {each.partition: each.end for each in reader.ranges(effective.topics.raw)}
        lag = group_lag(effective.kafka, effective.topics.raw)
        judged = [
            OffsetRange(
                each.partition,
                each.begin,
                max(min(each.end, ends[each.partition] - lag[each.partition]), each.begin),
            )
            for each in raw
        ]
        if judged == list(raw) or deadline.passed():
            return judged
        clock.wait(never, min(LOOK_EVERY_S, deadline.left_s()))
