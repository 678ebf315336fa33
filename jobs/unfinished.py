"""A retraining that was killed goes on where it was: its span and its checkpoints, on this machine's disk.

One for each pipeline, as its lock lets only one run. New records arrive all the time, so the span is remembered too.
"""

import hashlib
from pathlib import Path

import msgspec
import numpy as np

from jobs.one_shot import software
from stream_ae.digest import fingerprint
from stream_ae.errors import ConfigError
from stream_ae.ports import RecordReader
from stream_ae.settings import Settings
from stream_ae.telemetry import Log
from stream_ae.training.checkpoint import Checkpoints, Support, remove, write
from stream_ae.training.collect import Collected
from stream_ae.training.ranks import Ranks
from stream_ae.training.span import Span, span_at

log = Log("retrain")


class _Begun(msgspec.Struct, frozen=True):
    like: str
    span: Span


class Unfinished:
    """What is left of the last retraining of a pipeline, if it was killed; without a folder nothing ever is."""

    def __init__(self, folder: Path | None, settings: Settings) -> None:
        self._within_ms = int(settings.retrain.resume_within_s * 1000)
        self._folder = folder if self._within_ms else None
        groups = settings.topics, settings.decode, settings.images, settings.training, settings.retrain
        # Another Kafka may have the same offsets.
        kafka = settings.kafka.bootstrap_servers
        self._like = fingerprint([software(), kafka, *(group.model_dump_json() for group in groups)])

    def span(self, fresh: Span, reader: RecordReader) -> Span:
        """That of an unfinished training by the same settings and code, else `fresh`, which is remembered.

        One that began more than `retrain.resume_within_s` ago, or whose records Kafka has deleted, is given up.
        """
        if self._folder is None:
            return fresh
        file = self._folder / "begun.json"
        begun = _begun(file)
        if begun is not None and begun.like == self._like and self._usable(begun.span, fresh, reader):
            log.info("a retraining that did not come to its end goes on", span=begun.span.offsets)
            return begun.span
        self.over()
        try:
            write(file, [msgspec.json.encode(_Begun(self._like, fresh))])
        except OSError as error:
            log.warning("cannot be remembered, it would begin anew after a crash", file=file, reason=error)
        return fresh

    def support(self, run_key: str, collected: Collected, ranks: Ranks) -> Support:
        """Processes and checkpoints for training on what was collected."""
        if self._folder is None:
            return Support(ranks)
        return Support(ranks, Checkpoints(self._folder, fingerprint([run_key, _digest(collected)])))

    def over(self) -> None:
        """It came to its end, whatever that was: nothing is left to go on with."""
        if self._folder is not None:
            remove(self._folder)

    def _usable(self, span: Span, fresh: Span, reader: RecordReader) -> bool:
        if not span.records or not 0 <= fresh.end_ms - span.end_ms <= self._within_ms:
            return False
        try:
            span_at(reader, span.ranges[0].partition.topic, span.offsets, fresh.end_ms)
        except ConfigError as error:
            log.warning("an unfinished retraining cannot go on and is given up", reason=error)
            return False
        return True


def _begun(file: Path) -> _Begun | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Begun)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning("the unfinished retraining cannot be read and is given up", file=file, reason=error)
        return None


def _digest(collected: Collected) -> str:
    """sha256 (hex) of what is trained on: flags may have come since, and leave out other samples of the same span."""
    total = hashlib.sha256(repr((collected.channels, collected.frame)).encode())
    for stream, segment in zip(collected.streams, collected.segments, strict=True):
        total.update(repr((stream, segment.shape)).encode())
        total.update(np.ascontiguousarray(segment).data)
    return total.hexdigest()
