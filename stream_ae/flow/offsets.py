"""What a commit says: how far the group is, and what the next owner needs to know what we know."""

from collections import deque
from dataclasses import dataclass, field

import msgspec

from stream_ae.flow.tally import EMPTY, Tally
from stream_ae.records import Position

NO_TIME_MS = -1
# Above every offset.
FOREVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Rewind:
    """Where to begin reading to rebuild every live stream of a partition, and the partition time there."""

    offset: int
    time_ms: int = NO_TIME_MS


class _Metadata(msgspec.Struct):
    """The text beside a committed offset. A later version may add fields, but not change what these mean."""

    rewind: int
    time: int = NO_TIME_MS
    v: int = 1
    row: int = 0
    newest: list[tuple[int, int]] = []


_decoder = msgspec.json.Decoder(_Metadata)


def metadata_of(rewind: Rewind, tally: Tally = EMPTY) -> str:
    """
    >>> metadata_of(Rewind(17, 1700000000000), Tally(2, ((1250, 0), (31, 2))))
    '{"rewind":17,"time":1700000000000,"v":1,"row":2,"newest":[[1250,0],[31,2]]}'
    """
    return msgspec.json.encode(
        _Metadata(rewind.offset, rewind.time_ms, row=tally.in_a_row, newest=list(tally.newest))
    ).decode()


def rewind_of(position: Position) -> Rewind:
    """Where to begin; at the committed offset where its metadata is empty, foreign or makes no sense.

    >>> rewind_of(Position(20, '{"rewind":17,"time":5,"v":9,"more":true}'))
    Rewind(offset=17, time_ms=5)
    >>> rewind_of(Position(20, "written by hand"))
    Rewind(offset=20, time_ms=-1)
    """
    metadata = _read(position)
    return Rewind(metadata.rewind, metadata.time)


def tally_of(position: Position) -> Tally:
    """What had left as of the committed offset; an empty tally where the commit says nothing of it, or no sense.

    >>> tally_of(Position(20, '{"rewind":17,"time":5,"v":1}'))
    Tally(in_a_row=0, newest=())
    """
    metadata = _read(position)
    return Tally.read(metadata.row, metadata.newest)


def _read(position: Position) -> _Metadata:
    try:
        metadata = _decoder.decode(position.metadata)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return _Metadata(position.offset)
    return metadata if 0 <= metadata.rewind <= position.offset else _Metadata(position.offset)


@dataclass(slots=True)
class Progress:
    """How far one assigned partition is.

    live_from:  records below it only rebuild state; they have left their trace before.
    live_to:    records from it on only complete the windows of those before; somebody else answers them.
    time_ms:    partition time: the largest Kafka timestamp taken up so far.
    read_to:    the next record to take up.
    answered:   the next record to answer; everything before it has left.
    committed:  the newest offset that the group knows.
    tally:      of the records before `answered`.
    """

    live_from: int
    time_ms: int
    read_to: int
    answered: int
    committed: int
    tally: Tally = EMPTY
    live_to: int = FOREVER
    _rewinds: deque[tuple[int, Rewind]] = field(default_factory=deque)

    @classmethod
    def assigned(cls, position: Position | None) -> "Progress":
        """At the start; without a committed position everything there is counts as live."""
        if position is None:
            return cls(0, NO_TIME_MS, 0, 0, 0)
        rewind = rewind_of(position)
        at, tally = position.offset, tally_of(position)
        progress = cls(at, rewind.time_ms, rewind.offset, at, at, tally)
        progress.note(position.offset, rewind)
        return progress

    @property
    def start(self) -> int | None:
        """Where to begin reading, if elsewhere than at the committed offset."""
        return self.read_to if self.read_to < self.live_from else None

    @property
    def begun(self) -> bool:
        """There was a committed position, or a record has come."""
        return bool(self._rewinds)

    def begin(self, offset: int) -> None:
        """The first record that came: before it there is nothing to rebuild."""
        if not self.begun:
            self.note(offset, Rewind(offset))

    def note(self, end: int, rewind: Rewind) -> None:
        """Whoever goes live at `end` must begin at `rewind`; ends come in ascending order."""
        if end >= self.live_from and (not self._rewinds or end > self._rewinds[-1][0]):
            self._rewinds.append((end, rewind))

    def position(self) -> Position:
        """What to commit: the answered offset with the rewind offset as of it, or as of a little before.

        The rewind offset never falls, so an earlier one is only more careful.
        """
        rewind = next(rewind for end, rewind in reversed(self._rewinds) if end <= self.answered)
        return Position(self.answered, metadata_of(rewind, self.tally))

    def mark_committed(self, offset: int) -> None:
        """The group knows; rewind offsets before the one in use are not needed any more."""
        self.committed = max(self.committed, offset)
        while len(self._rewinds) > 1 and self._rewinds[1][0] <= self.committed:
            self._rewinds.popleft()
