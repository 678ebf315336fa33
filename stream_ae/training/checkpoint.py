"""Where a training keeps what it has done, to go on there after it was killed."""

import hashlib
import io
import os
import pickle
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch

from stream_ae.digest import fingerprint
from stream_ae.telemetry import Log
from stream_ae.training.ranks import ALONE, Ranks

log = Log("training.checkpoint")

_DIGEST_BYTES = hashlib.sha256().digest_size


class Resumable(Protocol):
    """A part of a training that can be put down and taken up again."""

    @property
    def depends_on(self) -> list[str]:
        """What it is, beside its data: one of other settings or of another network cannot go on where this one was."""
        ...

    def state(self) -> Mapping[str, Any]:
        """Tensors, numbers, strings, lists and dicts: all that `restore` needs."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Be where the one was whose `state` this is."""
        ...


class Checkpoints:
    """Checkpoints of one training in a folder: one file for each of its parts, so their number has a bound.

    run: names all that the result depends on; files of another run are not used, and are overwritten.
    Nothing here fails a training: a disk that is full costs the checkpoint alone.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._folder, self._run = folder, run

    def restore(self, part: str, into: Resumable) -> bool:
        """Have `into` go on where it was; false, and it stays as it is, if nothing that is whole was kept of it."""
        file = self._file(part)
        try:
            stored = file.read_bytes()
        except FileNotFoundError:
            return False
        except OSError as error:
            log.warning("checkpoint cannot be read, training begins anew", file=file, reason=error)
            return False
        state = _unpacked(stored, file)
        if state is None:
            return False
        if state["of"] != self._name(part, into):
            log.info("checkpoint is of another training, training begins anew", file=file)
            return False
        into.restore(state["state"])
        log.info("training goes on from its checkpoint", part=part, file=file)
        return True

    def save(self, part: str, done: Resumable) -> None:
        """Keep where `done` is, in place of what was kept of it before."""
        content = io.BytesIO()
        torch.save({"of": self._name(part, done), "state": done.state()}, content)
        try:
            write(self._file(part), [hashlib.sha256(content.getbuffer()).digest(), content.getbuffer()])
        except OSError as error:
            log.warning(
                "checkpoint cannot be written, training goes on without: it would begin anew after a crash",
                file=self._file(part), reason=error,
            )  # fmt: skip

    def _file(self, part: str) -> Path:
        return self._folder / f"{part}.checkpoint"

    def _name(self, part: str, of: Resumable) -> str:
        return fingerprint([self._run, part, torch.__version__, *of.depends_on])


@dataclass(frozen=True, slots=True)
class Support:
    """What a training runs on: the processes that share it, and where it keeps what it has done (None: nowhere)."""

    ranks: Ranks = ALONE
    checkpoints: Checkpoints | None = None

    def restore(self, part: str, into: Resumable) -> None:
        """Have `into` go on where it was, if that was kept."""
        if self.checkpoints is not None:
            self.checkpoints.restore(part, into)

    def save(self, part: str, done: Resumable) -> None:
        """Keep where `done` is."""
        if self.checkpoints is not None:
            self.checkpoints.save(part, done)


UNSUPPORTED: Final = Support()


def remove(folder: Path) -> None:
    """A folder of checkpoints that nobody needs any more; one that cannot be removed is only said."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("checkpoints cannot be removed, remove them by hand", folder=folder, reason=error)


def write(file: Path, parts: Sequence[bytes | memoryview]) -> None:
    """Put a file in place all at once; its folder is made if need be. Raises OSError and leaves the one before."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    arriving = file.with_suffix(".part")
    try:
        with arriving.open("wb") as out:
            out.writelines(parts)
            out.flush()
            os.fsync(out.fileno())
        arriving.replace(file)
    except OSError:
        arriving.unlink(missing_ok=True)
        raise


def _unpacked(stored: bytes, file: Path) -> dict[str, Any] | None:
    digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        log.warning("checkpoint is damaged, training begins anew", file=file)
        return None
    try:
        # Tensors and plain values only: a file runs no code.
        found = torch.load(io.BytesIO(content), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        found = error
    if not isinstance(found, dict) or found.keys() != {"of", "state"}:
        log.warning("checkpoint is none of this program's, training begins anew", file=file, found=found)
        return None
    return found
