"""The section that the suite writes."""

from pathlib import Path

from tests.chaos.reliability import Row, failed_row, keep, kept, write_page
from tests.chaos.rounds import Plan

FAULT = "worker added"


def test_the_table_counts_the_rounds_of_each_fault(tmp_path: Path) -> None:
    results, page = tmp_path / "var" / "results.jsonl", tmp_path / "page.md"
    for doubled, recovery_s in ((0, 1.0), (7, 4.0), (0, 2.0)):
        keep(Row(FAULT, "at_least_once", 0, 1000, 0, doubled, 0, recovery_s), results)
    keep(failed_row(Plan(FAULT, "at_least_once", 3), AssertionError("not within 120 s: everything\nmore")), results)
    write_page(page, kept(results))
    text = page.read_text(encoding="utf-8")
    assert f"| {FAULT} | at_least_once | 4 | 3,000 | 0 | 7 | 0 | 1 | 2.0 / 4.0 |" in text
    assert kept(results)[-1].trouble == "not within 120 s: everything"
