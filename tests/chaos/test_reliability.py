"""The page that the suite writes."""

from pathlib import Path

from tests.chaos.reliability import BEGIN, END, Row, failed_row, keep, kept, write_page
from tests.chaos.rounds import Plan

FAULT = "worker added"


def test_the_table_counts_the_rounds_of_each_fault_and_leaves_the_rest_of_the_page(tmp_path: Path) -> None:
    results, page = tmp_path / "var" / "results.jsonl", tmp_path / "page.md"
    page.write_text(f"# Before\n{BEGIN}\nan older table\n{END}\n# After\n", encoding="utf-8")
    for doubled, recovery_s in ((0, 1.0), (7, 4.0), (0, 2.0)):
        keep(Row(FAULT, "at_least_once", 1000, 0, doubled, 0, recovery_s), results)
    keep(failed_row(Plan(FAULT, "at_least_once", 3), AssertionError("not within 120 s: everything\nmore")), results)
    write_page(page, kept(results))
    text = page.read_text(encoding="utf-8")
    assert f"| {FAULT} | at_least_once | 4 | 3,000 | 0 | 7 | 0 | 1 | 2.0 / 4.0 |" in text
    assert kept(results)[-1].trouble == "not within 120 s: everything"
    assert text.startswith("# Before\n")
    assert text.endswith("# After\n")
    assert "an older table" not in text


def test_a_page_that_is_not_there_is_made(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write_page(page, [Row(FAULT, "at_least_once", 10, 0, 0, 0, 1.0)])
    assert page.read_text(encoding="utf-8").startswith("# Reliability\n")
