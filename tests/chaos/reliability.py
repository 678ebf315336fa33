"""What the rounds found, as the section that the suite writes itself."""

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.known import STREAMS_PER_PARTITION
from tests.chaos.rounds import PARTITIONS, WORKERS, Plan, Played
from tests.page import write_section


@dataclass(frozen=True, slots=True)
class Row:
    """One round, as it is kept. trouble: what it waited for in vain; then nothing was compared."""

    fault: str
    delivery: str
    number: int
    records: int
    lost: int
    doubled: int
    wrong: int
    recovery_s: float
    trouble: str = ""


def failed_row(plan: Plan, error: Exception) -> Row:
    """Of a round that did not come to its end."""
    return Row(plan.fault, plan.delivery, plan.number, 0, 0, 0, 0, 0.0, str(error).partition("\n")[0] or "failed")


def row_of(played: Played) -> Row:
    verdict = played.verdict
    return Row(
        played.plan.fault,
        played.plan.delivery,
        played.plan.number,
        verdict.records,
        verdict.lost,
        verdict.doubled,
        len(verdict.wrong),
        round(played.recovery_s, 2),
    )


def keep(row: Row, file: Path) -> None:
    """Append to the results, one JSON object a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as results:
        results.write(json.dumps(asdict(row)) + "\n")


def kept(file: Path) -> list[Row]:
    return [Row(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def write_page(page: Path, rows: Sequence[Row], records: str = "json") -> None:
    """Put the table of all rounds with such records into the page."""
    if records == "images":
        sent = "frames of 16 x 20 pixels, some with a defect, 5 % no frames"
        write_section(page, "chaos images", "make chaos CHAOS_RECORDS=images", _section(rows, "Faults, frames", sent))
    else:
        sent = "single samples, blocks, missing values, 5 % broken records"
        write_section(page, "chaos", "make chaos", _section(rows, "Faults", sent))


def _section(rows: Sequence[Row], title: str, sent: str) -> list[str]:
    records, rounds = sum(row.records for row in rows), len(rows)
    streams = PARTITIONS * STREAMS_PER_PARTITION
    lines = [
        f"## {title}",
        "",
        f"{rounds} rounds, {records:,} records. In each round, {streams} streams on {PARTITIONS} partitions "
        f"({sent}) are sent to a real broker while "
        f"{WORKERS} worker processes answer them and the fault strikes. Then every output is compared with what the "
        "offline detector says of the same streams undisturbed.",
        "",
        "*lost*: raw records without a trace. *doubled*: raw records with more than one trace; `at_least_once` allows "
        "them, and each copy has to be equal to the undisturbed answer. *wrong*: outputs whose values, score or flag "
        "differ from it beyond rounding, and flags that the flagged topic does not report. *failed*: rounds that "
        "waited in vain for all of it to be answered, and were not compared. *recovery*: from the end of "
        "the fault until everything that was sent before it was answered, committed and visible to readers of "
        "committed records; a killed worker's session "
        "lasts 6 s here.",
        "",
        "| fault | delivery | rounds | records | lost | doubled | wrong | failed | recovery s, p50 / max |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    by_case: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_case[row.fault, row.delivery].append(row)
    order = {fault: place for place, fault in enumerate(FAULTS)}
    for (fault, delivery), case in sorted(by_case.items(), key=lambda item: (order[item[0][0]], item[0][1])):
        lines.append(_line(fault, delivery, case))
    return lines


def _line(fault: str, delivery: str, case: Sequence[Row]) -> str:
    sums = [sum(getattr(row, name) for row in case) for name in ("records", "lost", "doubled", "wrong")]
    ended = [row.recovery_s for row in case if not row.trouble]
    counted = " | ".join(f"{number:,}" for number in (len(case), *sums, len(case) - len(ended)))
    recovery = f"{statistics.median(ended):.1f} / {max(ended):.1f}" if ended else "-"
    return f"| {fault} | {delivery} | {counted} | {recovery} |"
