"""Version folders on this machine's disk, by the digest of their content."""

import os
import shutil
import tempfile
from pathlib import Path

import msgspec

from stream_ae.digest import folder_digest
from stream_ae.errors import DigestError, ModelError, TransientError
from stream_ae.ports import ModelStore
from stream_ae.records import ModelIdentity
from stream_ae.telemetry import Log

log = Log("registry.cache")

KEEP = 5


class VersionCache:
    """One pipeline's versions under `root`; several workers of one machine may share it.

    What is in it has been checked: a folder gets its place by one rename, after its digest was compared.
    """

    def __init__(self, root: Path) -> None:
        self._versions = root / "versions"
        self._last_good = root / "last-good.json"

    def folder(self, digest: str) -> Path:
        """Where the version with this digest lies, if it is here."""
        return self._versions / digest

    def fetch(self, store: ModelStore, model: ModelIdentity) -> Path:
        """The version's folder: from the disk if it is there and unharmed, else from the store.

        Raises DigestError, and keeps nothing, if what the store gives is not what was announced; TransientError if the
        store is away, or the disk has no room for it.
        """
        try:
            return self._fetch(store, model)
        except OSError as error:
            raise TransientError(
                f"{_named(model)} cannot be written to {self._versions} ({error}): make room there, or set "
                "worker.cache_dir to another folder"
            ) from error

    def _fetch(self, store: ModelStore, model: ModelIdentity) -> Path:
        if not _is_digest(model.digest):
            raise DigestError(f"{_named(model)} has no digest ({model.digest!r}): register it with stream-ae")
        folder = self.folder(model.digest)
        if self._unharmed(folder, model.digest):
            os.utime(folder)
            return folder
        self._versions.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._versions, prefix=".fetching-") as arriving:
            fetched = store.fetch(model.version, Path(arriving) / "version")
            found = folder_digest(fetched)
            if found != model.digest:
                raise DigestError(
                    f"{_named(model)} has digest {found[:12]}, but {model.digest[:12]} was registered: its files were "
                    "changed in the registry; register the version again"
                )
            _place(fetched, folder)
        self._prune()
        return folder

    def remember_good(self, model: ModelIdentity) -> None:
        """Note that this version works here: `last_good` after a restart without servers.

        Without room for the note the one before stands: the version serves all the same.
        """
        try:
            self._note_good(model)
        except OSError as error:
            log.warning("last good version not noted", file=str(self._last_good), reason=str(error))

    def _note_good(self, model: ModelIdentity) -> None:
        self._last_good.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._last_good.parent, prefix=".last-good-", delete=False) as file:
            file.write(msgspec.json.encode(model))
        Path(file.name).replace(self._last_good)

    def last_good(self) -> ModelIdentity | None:
        """The version noted last, if its folder is still here; None otherwise."""
        try:
            model = msgspec.json.decode(self._last_good.read_bytes(), type=ModelIdentity)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            log.warning("last good version not readable", file=str(self._last_good), reason=str(error))
            return None
        return model if _is_digest(model.digest) and self.folder(model.digest).is_dir() else None

    def _unharmed(self, folder: Path, digest: str) -> bool:
        """True for a whole folder; a damaged one is thrown away."""
        if not folder.is_dir():
            return False
        try:
            if folder_digest(folder) == digest:
                return True
        except ModelError as error:
            log.warning("cached version not readable", folder=str(folder), reason=str(error))
        log.warning("cached version damaged, fetching it again", folder=str(folder))
        shutil.rmtree(folder, ignore_errors=True)
        return False

    def _prune(self) -> None:
        """Keep the versions used last, and the last good one."""
        good = self.last_good()
        here = [path for path in self._versions.iterdir() if _is_digest(path.name)]
        here.sort(key=_used_ns, reverse=True)
        for old in here[KEEP:]:
            if good is None or old.name != good.digest:
                shutil.rmtree(old, ignore_errors=True)


def _place(fetched: Path, folder: Path) -> None:
    try:
        fetched.rename(folder)
    except OSError:
        # Another worker of this machine was first; what it put there was checked as well.
        if not folder.is_dir():
            raise


def _used_ns(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        # Pruned by another worker meanwhile.
        return 0


def _is_digest(text: str) -> bool:
    """A digest becomes a folder's name: anything but 64 hex digits could lead elsewhere."""
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)


def _named(model: ModelIdentity) -> str:
    return f"version {model.version} of {model.name}"
