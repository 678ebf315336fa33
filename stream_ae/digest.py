"""One number for the content of a version folder, wherever it lies, and one name for what a run depends on."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from stream_ae.errors import ModelError


def folder_digest(folder: Path, without: str = "") -> str:
    """sha256 (hex) over the names and contents of all files under `folder`, independent of its own path.

    without: a folder directly in it that does not count.
    Two folders with the same digest hold the same version. Raises ModelError when there is nothing to read.
    """
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    if without:
        files = [(name, path) for name, path in files if not name.startswith(f"{without}/")]
    if not files:
        raise ModelError(f"version folder {folder} does not exist or is empty: save or fetch the version again")
    total = hashlib.sha256()
    for name, path in files:
        # Lengths first, so that no two different folders feed the same bytes.
        total.update(f"{len(name.encode())} {name} {path.stat().st_size}\n".encode())
        total.update(file_digest(path).encode())
    return total.hexdigest()


def fingerprint(parts: Sequence[object]) -> str:
    """One short name for these values, as JSON writes them: the same values give the same name."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """sha256 (hex) of one file. Raises ModelError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): fetch the version again") from error
