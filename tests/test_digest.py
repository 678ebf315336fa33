from pathlib import Path

import pytest

from stream_ae.digest import folder_digest
from stream_ae.errors import ModelError


def test_the_same_content_has_the_same_digest_in_nested_folders_too(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "a").write_bytes(b"1")
        (tmp_path / name / "b").write_bytes(b"2")
    assert folder_digest(tmp_path / "one") == folder_digest(tmp_path / "two")


def test_moving_bytes_between_files_changes_the_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "b").write_bytes(b"3")
    before = folder_digest(tmp_path)
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"23")
    assert folder_digest(tmp_path) != before


def test_an_empty_or_missing_folder_has_no_digest(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ModelError, match="does not exist or is empty"):
            folder_digest(folder)
