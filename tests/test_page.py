"""Sections that suites write into pages of docs/."""

from pathlib import Path

from tests.page import PAGE, write_section


def test_a_section_is_replaced_and_the_rest_of_the_page_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write_section(page, "one", "make one", ["older"])
    write_section(page, "two", "make two", ["second"])
    before = page.read_text(encoding="utf-8")
    write_section(page, "one", "make one", ["newer"])
    assert before.startswith("# Page\n")
    assert page.read_text(encoding="utf-8") == before.replace("older", "newer")


def test_the_page_has_every_mark_once() -> None:
    text = PAGE.read_text(encoding="utf-8")
    begins = [line for line in text.splitlines() if ": begin, written by " in line]
    assert begins
    for begin in begins:
        name = begin.removeprefix("<!-- ").partition(":")[0]
        assert text.count(f"<!-- {name}: begin") == text.count(f"<!-- {name}: end -->") == 1
