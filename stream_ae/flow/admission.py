"""Time within a stream: records that run backwards are refused, a long silence makes the stream start afresh.

Silence is measured in *partition time*: the largest Kafka timestamp of the partition so far. So what comes out depends
on the log alone, never on when a worker read it, and a worker that rebuilds its state from the log decides the same.
"""

from dataclasses import dataclass

import numpy as np

from stream_ae.flow.grouping import Groups, grouped
from stream_ae.flow.streams import StreamTable
from stream_ae.records import Bool, Int64, Reason, Rejection
from stream_ae.settings import Settings


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Records that have samples, in record order, one entry each.

    row:       of the record batch.
    slot:      of its stream.
    at_ms:     partition time, this record included.
    first_ms:  timestamp of its first sample; last_ms: of its last (the same but for blocks).
    """

    row: Int64
    slot: Int64
    at_ms: Int64
    first_ms: Int64
    last_ms: Int64


@dataclass(frozen=True, slots=True)
class Rules:
    """refuse_equal: a timestamp equal to the one before it is refused too; ttl_ms: a longer silence is a new start."""

    refuse_equal: bool
    ttl_ms: int

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        return cls(settings.decode.duplicate_timestamp == "dead_letter", round(settings.batch.state_ttl_s * 1000))


def broken_blocks(row: Int64, timestamp_ms: Int64, rules: Rules) -> list[Rejection]:
    """Blocks whose own samples run backwards; they are refused whatever came before."""
    same_record = row[1:] == row[:-1]
    if not same_record.any():
        return []
    wrong = same_record & _backwards(timestamp_ms[1:], timestamp_ms[:-1], rules)
    places = np.flatnonzero(wrong)
    _, firsts = np.unique(row[places], return_index=True)
    return [
        _rejection(int(row[place]), int(timestamp_ms[place + 1]), int(timestamp_ms[place]), "the sample before it")
        for place in places[firsts].tolist()
    ]


def admit(arrivals: Arrivals, table: StreamTable, rules: Rules) -> tuple[Bool, list[Rejection]]:
    """Which records start their stream afresh, and which are refused; brings the table up to date.

    A refused record still counts as a sign of life of its stream: else a worker that rebuilds the stream from a part
    of the log could see a silence where there was none.
    """
    groups = grouped(arrivals.slot)
    at, first, last = (column[groups.order] for column in (arrivals.at_ms, arrivals.first_ms, arrivals.last_ms))
    seen = _before(at, table.seen_ms[groups.slot], groups)
    newest = _before(last, table.last_ms[groups.slot], groups)
    fresh = at - seen > rules.ttl_ms
    fresh[groups.first] |= ~table.known[groups.slot]
    wrong = _backwards(first, newest, rules) & ~fresh
    table.known[groups.slot] = True
    table.seen_ms[groups.slot] = at[groups.last()]
    table.last_ms[groups.slot] = last[groups.last()] if not wrong.any() else table.last_ms[groups.slot]
    in_order = np.empty(len(fresh), np.bool_)
    in_order[groups.order] = fresh
    if not wrong.any():
        return in_order, []
    return in_order, _one_by_one(arrivals, in_order, table, rules)


def _one_by_one(arrivals: Arrivals, fresh: Bool, table: StreamTable, rules: Rules) -> list[Rejection]:
    """Refuse what is older than the newest *admitted* sample, which needs the records in their order."""
    rejections = []
    newest: dict[int, int] = {}
    columns = (arrivals.row, arrivals.slot, arrivals.first_ms, arrivals.last_ms, fresh)
    for row, slot, first_ms, last_ms, starts in zip(*(column.tolist() for column in columns), strict=True):
        before_ms = newest[slot] if slot in newest else int(table.last_ms[slot])
        if not starts and (first_ms < before_ms or (rules.refuse_equal and first_ms == before_ms)):
            rejections.append(_rejection(row, first_ms, before_ms, "the stream's sample before it"))
        else:
            newest[slot] = last_ms
    table.last_ms[list(newest)] = list(newest.values())
    return rejections


def _before(column: Int64, held: Int64, groups: Groups) -> Int64:
    """(sorted) each record's value of the record before it of its stream; `held` for the first of each group."""
    before = np.empty_like(column)
    before[1:] = column[:-1]
    before[groups.first] = held
    return before


def _backwards(later_ms: Int64, earlier_ms: Int64, rules: Rules) -> Bool:
    wrong: Bool = later_ms <= earlier_ms if rules.refuse_equal else later_ms < earlier_ms
    return wrong


def _rejection(row: int, timestamp_ms: int, before_ms: int, what: str) -> Rejection:
    if timestamp_ms == before_ms:
        message = f"timestamp {timestamp_ms} ms is that of {what}: set decode.duplicate_timestamp=accept to let it pass"
        return Rejection(row, Reason.DUPLICATE_TIMESTAMP, message)
    message = (
        f"timestamp {timestamp_ms} ms is older than that of {what}, {before_ms} ms: send each stream in time order"
    )
    return Rejection(row, Reason.TIMESTAMP_BACKWARDS, message)
