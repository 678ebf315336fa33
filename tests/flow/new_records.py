"""Logs for the state machine: everything that a log may hold, as choices that shrink to a plain sample."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.flow.raw_log import Raw

START_MS = 1_700_000_000_000  # small numbers would be read as seconds
NUMBERS = (0, 1)


@dataclass(frozen=True)
class Pace:
    """How the streams of one run behave: their names, and what Kafka's time does from record to record."""

    streams: str
    steps_ms: tuple[int, ...]

    def record(self, new: "NewRecord", last: Sequence[Raw]) -> Raw:
        """The new record as it stands in the log of its partition, after the `last` one there if there is one."""
        before = last[-1] if last else Raw(-1, kafka_ms=START_MS)
        kafka_ms = before.kafka_ms + self.steps_ms[new.step % len(self.steps_ms)]
        times = tuple(kafka_ms + time for time in KINDS[new.kind])
        values = None if new.kind == "tombstone" else new.values[: len(times)]
        stream = self.streams[new.stream % len(self.streams)]
        where = (before.offset + new.gap, new.partition, stream, kafka_ms)
        return Raw(*where, times, values, new.kind == "broken")


# A lone stream asks for no more of the log than it needs; disorder makes partition time differ from the records'.
PACES = [
    Pace("xy", (1, 2, 10)),
    Pace("x", (5, 30, 0)),
    Pace("xyyyyy", (1, 2, 10)),
    Pace("xyz", (10, 0, -40, 90, 150)),
    Pace("xyz", (5, 90, -90, 60)),
]
# By kind, the timestamps of a record's samples, from its Kafka time on.
KINDS = {
    "sample": (0,),
    "late": (-30,),
    "block": (0, 1, 2),
    "at once": (0, 0, 0),
    "disordered": (0, 5, 3),
    "overlapping": (-30, 5, 60),
    "tombstone": (),
    "broken": (0,),
}


@dataclass(frozen=True)
class NewRecord:
    """What a record adds to the log of its partition; `stream` and `step` choose from a pace."""

    partition: int
    kind: str
    stream: int
    step: int
    gap: int
    values: tuple[float, ...]


RECORDS = st.builds(
    NewRecord,
    st.sampled_from(NUMBERS),
    st.sampled_from([*["sample"] * 7, *KINDS]),
    st.integers(0, 5),
    st.integers(0, 4),
    st.sampled_from([1, 1, 3]),
    st.tuples(*[st.sampled_from([0.0, 1.0, 2.0, 5.0, 9.0, math.nan])] * 3),
)
