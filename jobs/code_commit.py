"""The commit that this code was installed from or runs at, where that can be told."""

import json
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

GIT_TIMEOUT_S = 5.0


def code_commit(file: Path = Path(__file__)) -> str:
    """The hash, with `-dirty` where files differ from it; empty where nobody knows.

    `pip install git+...` writes it down; of a clone git is asked, if the file is one of its own: an environment may lie
    in somebody else's repository.
    """
    return _installed_from() or _of_clone(file)


def _installed_from() -> str:
    try:
        told = json.loads(distribution("stream-ae").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return ""
    return str(told.get("vcs_info", {}).get("commit_id", ""))


def _of_clone(file: Path) -> str:
    git = shutil.which("git")
    if git is None or not _said(git, file, "ls-files", "--error-unmatch", file.name):
        return ""
    return _said(git, file, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _said(git: str, file: Path, *command: str) -> str:
    """What git prints; empty if it refuses or does not answer."""
    try:
        answer = subprocess.run(
            [git, "-C", str(file.parent), *command], capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
