"""Which commit a version was made by: that of our own clone, and of nobody else's."""

import subprocess
from pathlib import Path

import pytest

from jobs.code_commit import code_commit


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "ours.py").write_text("x = 1\n")
    (tmp_path / "theirs.py").write_text("y = 1\n")
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (("init", "-q"), ("add", "ours.py"), (*who, "commit", "-qm", "Begin")):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_a_clone_says_its_commit_and_whether_files_differ_from_it(clone: Path) -> None:
    commit = code_commit(clone / "ours.py")
    assert len(commit) == 40
    (clone / "ours.py").write_text("x = 2\n")
    assert code_commit(clone / "ours.py") == f"{commit}-dirty"


def test_a_file_in_somebody_else_s_repository_has_no_commit(clone: Path) -> None:
    assert code_commit(clone / "theirs.py") == ""


def test_outside_of_any_repository_nobody_knows(tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text("")
    assert code_commit(tmp_path / "alone.py") == ""
