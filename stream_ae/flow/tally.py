"""What has left one partition, as far as the limits on dead letters ask: small enough to travel with a commit."""

from collections.abc import Sequence
from dataclasses import dataclass

BLOCKS = 8


def block_of(share_over: int) -> int:
    """Records of one block: about BLOCKS of them are the newest `share_over` records.

    >>> [block_of(6), block_of(10_000)]
    [1, 1250]
    """
    return -(-share_over // BLOCKS)


@dataclass(frozen=True, slots=True)
class Tally:
    """A function of the records of the partition up to an offset, in their order: of nothing else.

    in_a_row:  broken records since the last good one.
    newest:    records and the broken ones among them, block by block, oldest first; the last block fills up.
    """

    in_a_row: int = 0
    newest: tuple[tuple[int, int], ...] = ()

    @classmethod
    def read(cls, in_a_row: int, newest: Sequence[tuple[int, int]]) -> "Tally":
        """What a commit says; an empty tally if that makes no sense.

        >>> Tally.read(1, [(3, 4)])
        Tally(in_a_row=0, newest=())
        """
        sensible = in_a_row >= 0 and all(0 <= broken <= records for records, broken in newest)
        return cls(in_a_row, tuple(newest)) if sensible else cls()

    @property
    def records(self) -> int:
        """How many the share is about."""
        return sum(records for records, _ in self.newest)

    @property
    def broken(self) -> int:
        """Dead letters among them."""
        return sum(broken for _, broken in self.newest)

    def with_good(self, count: int, share_over: int) -> "Tally":
        """After so many more good records."""
        if count == 0:
            return self
        size, newest = block_of(share_over), list(self.newest)
        # Of a long row of good records only the end stays in sight.
        skipped = max(count // size - 2 * BLOCKS, 0)
        left = count - skipped * size
        while left:
            records, broken = newest.pop() if newest and newest[-1][0] < size else (0, 0)
            taken = min(left, size - records)
            newest.append((records + taken, broken))
            left -= taken
        return Tally(0, _in_sight(newest, share_over))

    def with_broken(self, share_over: int) -> "Tally":
        """After one more broken record."""
        newest = list(self.newest)
        records, broken = newest.pop() if newest and newest[-1][0] < block_of(share_over) else (0, 0)
        newest.append((records + 1, broken + 1))
        return Tally(self.in_a_row + 1, _in_sight(newest, share_over))


EMPTY = Tally()
"""Of a partition of which nothing has left, or nothing is known."""


def _in_sight(newest: list[tuple[int, int]], share_over: int) -> tuple[tuple[int, int], ...]:
    """Without the oldest blocks that are not needed to have `share_over` records; only whole ones fall out."""
    records, first = sum(records for records, _ in newest), 0
    while records - newest[first][0] >= share_over:
        records -= newest[first][0]
        first += 1
    return tuple(newest[first:])
