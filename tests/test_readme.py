"""The README tells what is there: its tests, files, commands, settings and exit codes exist."""

import re
from pathlib import Path

import pytest
import typer

from jobs.retrain import Outcome
from stream_ae.cli.app import app
from stream_ae.configuration import load

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "ARCHITECTURE.md").read_text()


def test_every_test_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", README))
    defined = {
        name for file in ROOT.glob("tests/**/*.py") for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)
    }
    assert named
    assert named <= defined, f"not there: {sorted(named - defined)}"


@pytest.mark.parametrize("text", [README, ARCHITECTURE], ids=["README", "ARCHITECTURE"])
def test_every_file_that_is_linked_or_named_exists(text: str) -> None:
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    named = re.findall(r"`((?:flow|kafka|models|worker|registry|localdev|jobs|stream_ae|training)/[\w/.]*)`", text)
    bases = (ROOT, ROOT / "stream_ae", ROOT / "docs")
    assert not [path for path in linked + named if not any((base / path).exists() for base in bases)]


def test_every_command_that_the_readme_names_is_one() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = set(re.findall(r"`?stream-ae ([a-z][a-z-]+)", README))
    assert named
    assert named <= set(commands)


def test_every_setting_in_the_readme_is_one_and_has_the_default_that_it_says() -> None:
    values = {row.path: row.value for row in load(environment={}).table()}
    rows = re.findall(r"^\| (`[a-z_.]+`(?:, `[a-z_.]+`)*) \| ([^|]+) \|", README, re.M)
    assert len(rows) > 5
    for cell, defaults in rows:
        paths = re.findall(r"`([a-z_.]+)`", cell)
        group = paths[0].rpartition(".")[0]
        for path in paths:
            full = path if path in values else f"{group}.{path}"
            assert full in values, full
        if len(paths) == 1 and "`" not in defaults:
            assert float(values[paths[0]]) == float(defaults), paths[0]


def test_every_exit_code_of_retraining_is_told() -> None:
    told = README[README.index("Exit codes: 0 promoted") :]
    for outcome in Outcome:
        assert re.search(rf"\b{outcome.value} \w", told), outcome


def test_the_configuration_in_the_readme_is_accepted(tmp_path: Path) -> None:
    yaml = re.search(r"<<'YAML'\n(.*?)\nYAML", README, re.S)
    assert yaml is not None
    file = tmp_path / "stream-ae.yaml"
    file.write_text(yaml.group(1))
    assert load(file, {}).settings.pipeline == "pumps"


def test_the_figures_of_quality_are_those_of_its_page() -> None:
    section = README.split("## How anomalies are scored")[1].split("\n## ")[0]
    figures = re.findall(r"\b0\.\d{3}\b", section)
    page = (ROOT / "docs" / "QUALITY.md").read_text(encoding="utf-8")
    assert len(figures) == 3
    assert [figure for figure in figures if figure not in page] == []
