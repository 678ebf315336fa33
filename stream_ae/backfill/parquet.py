"""Into Parquet files: one for each `CHUNK` of offsets of a partition, whole or not there at all."""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from stream_ae.errors import ConfigError
from stream_ae.flow.emission import Outputs
from stream_ae.flow.sample_table import SampleTable
from stream_ae.ports import OffsetRange

CHUNK = 100_000
"""Files end at multiples of this many offsets, whenever and however often a backfill is begun."""
# Readers of a folder of Parquet files pass over names that begin with these.
PLAN_FILE, LOCK_FILE, UNFINISHED = "_backfill.json", ".lock", ".unfinished.parquet"
ROW_GROUP = 50_000
CLEANED = "denoised_"
"""Before each channel's name, as `stream_ae.pyfunc` has it."""


def schema_of(channels: Sequence[str], frames: bool) -> pa.Schema:
    """A row a sample; of a record that cannot be used one row with the reason. Frames: the cleaned record's bytes."""
    values = [("cleaned", pa.binary())] if frames else [(f"{CLEANED}{channel}", pa.float32()) for channel in channels]
    return pa.schema(
        [
            ("stream", pa.string()),
            ("timestamp", pa.timestamp("ms", tz="UTC")),
            ("source_topic", pa.string()),
            ("source_partition", pa.int32()),
            ("source_offset", pa.int64()),
            ("score", pa.float64()),
            ("p_value", pa.float64()),
            ("flag", pa.bool_()),
            ("reason", pa.string()),
            *values,
        ]
    )


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """One process at a time writes to a folder; its death frees it. ConfigError if another one does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("w")
    except OSError as error:
        raise ConfigError(
            f"--to-parquet {folder} cannot be written ({error.strerror}): name a folder that you may write to"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"another backfill writes to {folder} just now: wait for it, or end it") from None
        yield


def planned(folder: Path, plan: Mapping[str, object], offsets: Callable[[], str]) -> str:
    """The offsets that a folder is of: `offsets()`, written down now with the plan, or those of an earlier run.

    So a time means what it meant then. ConfigError if the folder holds anything else than this plan.
    """
    file = folder / PLAN_FILE
    if file.exists():
        known: dict[str, Any] = orjson.loads(file.read_bytes())
        other = [name for name, value in plan.items() if known.get(name) != value]
        if other:
            said = ", ".join(f"{name} {known.get(name)} and not {plan[name]}" for name in other)
            raise ConfigError(f"{folder} holds another backfill ({said}): choose another folder")
        return str(known["offsets"])
    if any(path.name != LOCK_FILE and not path.name.endswith(UNFINISHED) for path in folder.iterdir()):
        raise ConfigError(f"{folder} is not empty and holds no backfill: choose another folder")
    found = offsets()
    unfinished = folder / f"{PLAN_FILE}{UNFINISHED}"
    unfinished.write_bytes(orjson.dumps(dict(plan) | {"offsets": found}, option=orjson.OPT_INDENT_2))
    _settle(unfinished, file)
    return found


def chunks_of(span: OffsetRange) -> list[OffsetRange]:
    """The span cut at multiples of `CHUNK`."""
    cuts = [span.begin, *range((span.begin // CHUNK + 1) * CHUNK, span.end, CHUNK), span.end]
    return [OffsetRange(span.partition, begin, end) for begin, end in pairwise(cuts) if end > begin]


def file_of(folder: Path, chunk: OffsetRange) -> Path:
    """Where a chunk's rows are, once it is done."""
    topic, number = chunk.partition
    return folder / f"{topic}-{number:05}-{chunk.begin:020}-{chunk.end:020}.parquet"


def missing(folder: Path, span: OffsetRange) -> list[OffsetRange]:
    """The parts of a span that have no file yet, as few as possible."""
    parts: list[OffsetRange] = []
    for chunk in chunks_of(span):
        if file_of(folder, chunk).exists():
            continue
        if parts and parts[-1].end == chunk.begin:
            parts[-1] = OffsetRange(span.partition, parts[-1].begin, chunk.end)
        else:
            parts.append(chunk)
    return parts


class ParquetTarget:
    """Writes the files of one partition's span, which begins and ends where chunks do."""

    def __init__(self, folder: Path, schema: pa.Schema, span: OffsetRange) -> None:
        self._folder = folder
        self._schema = schema
        self._topic = span.partition.topic
        self._chunks = chunks_of(span)
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.Table] = []

    def take(self, reached: int, outputs: Outputs) -> None:
        """What left, and the offset before which everything has."""
        rows = self._rows(outputs)
        offsets = rows["source_offset"].to_numpy()
        begin = 0
        while self._chunks:
            chunk = self._chunks[0]
            end = int(np.searchsorted(offsets, chunk.end))
            self._hold(rows.slice(begin, end - begin))
            begin = end
            if reached < chunk.end:
                return
            self._complete()

    def finish(self) -> None:
        """The rest of the span holds no record."""
        while self._chunks:
            self._complete()

    def close(self) -> None:
        """Let go; a file that is not whole goes away."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._unfinished.unlink()

    @property
    def _unfinished(self) -> Path:
        return self._folder / UNFINISHED

    def _hold(self, rows: pa.Table) -> None:
        self._held.append(rows)
        if sum(len(held) for held in self._held) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._unfinished, self._schema)
        self._writer.write_table(pa.concat_tables([self._schema.empty_table(), *self._held]))
        self._held = []

    def _complete(self) -> None:
        self._flush()
        assert self._writer is not None
        self._writer.close()
        self._writer = None
        _settle(self._unfinished, file_of(self._folder, self._chunks.pop(0)))

    def _rows(self, outputs: Outputs) -> pa.Table:
        frames = [value for value in outputs.cleaned.values if value is not None]
        parts, begin = [self._schema.empty_table()], 0
        for table in outputs.tables:
            parts.append(self._samples(table, frames[begin : begin + len(table)]))
            parts.append(self._refused(table))
            begin += len(table)
        return pa.concat_tables(parts).sort_by("source_offset")

    def _samples(self, table: SampleTable, frames: Sequence[bytes]) -> pa.Table:
        names = pa.array(table.streams, pa.string())
        columns: dict[str, Any] = {
            "stream": names.take(pa.array(table.stream)),
            "timestamp": pa.array(table.timestamp_ms).cast(pa.timestamp("ms", tz="UTC")),
            "source_topic": pa.repeat(self._topic, len(table)),
            "source_partition": table.partition,
            "source_offset": table.offset,
            "score": table.score,
            "p_value": table.p_value,
            "flag": table.flag,
            "reason": pa.nulls(len(table), pa.string()),
        }
        given = [field.name for field in self._schema if field.name not in columns]
        if given == ["cleaned"]:
            columns["cleaned"] = pa.array(frames, pa.binary())
        else:
            columns |= {name: table.x_hat[:, index] for index, name in enumerate(given)}
        return pa.table(columns, schema=self._schema)

    def _refused(self, table: SampleTable) -> pa.Table:
        count = len(table.refused)
        columns: dict[str, Any] = {field.name: pa.nulls(count, field.type) for field in self._schema}
        columns["source_topic"] = pa.repeat(self._topic, count)
        columns["source_partition"] = pa.array([number for number, _, _ in table.refused], pa.int32())
        columns["source_offset"] = pa.array([offset for _, offset, _ in table.refused], pa.int64())
        columns["reason"] = pa.array([str(reason) for _, _, reason in table.refused], pa.string())
        return pa.table(columns, schema=self._schema)


def _settle(unfinished: Path, file: Path) -> None:
    """Let a whole file take its name, so that it is there after a loss of power as well."""
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    unfinished.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
