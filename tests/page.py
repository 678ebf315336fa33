"""Pages of docs/ with sections that suites write themselves, each between marks of its own."""

from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "RELIABILITY.md"
SPEED = PAGE.with_name("SPEED.md")


def write_section(page: Path, name: str, command: str, lines: Sequence[str]) -> None:
    """Put the lines between the marks of `name`, which `command` writes; the rest of the page stays as it is.

    A section that is not there yet comes last.
    """
    begin, end = f"<!-- {name}: begin, written by {command} -->", f"<!-- {name}: end -->"
    old = page.read_text(encoding="utf-8") if page.exists() else f"# {page.stem.capitalize()}\n"
    if begin not in old:
        old = f"{old}\n{begin}\n{end}\n"
    before, rest = old.split(begin)
    after = rest.split(end)[1]
    text = "".join(f"{line}\n" for line in lines)
    page.write_text(f"{before}{begin}\n{text}{end}{after}", encoding="utf-8")
