"""What a source's owner has been told of its partitions, and how it is told: the same for every client library."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from stream_ae.errors import TransientError
from stream_ae.ports import AssignmentListener
from stream_ae.records import Partition, Position


class Assignment:
    """Calls the listener so that every partition is given once, taken once, and no exception gets lost.

    A client library swallows, wraps or half-handles what its rebalance callback raises. So nothing is raised into
    it: the first exception is kept, the rebalance is carried through, and `raise_pending` gives it to the poller.
    """

    def __init__(self, listener: AssignmentListener) -> None:
        self._listener = listener
        self._pending: Exception | None = None
        self.owned: set[Partition] = set()
        self.must_rejoin = False

    def assign(
        self, partitions: Sequence[Partition], committed: Callable[[], Mapping[Partition, Position | None]]
    ) -> dict[Partition, int]:
        """Tell the owner; returns the offsets to start at, for those partitions that have one.

        If the committed offsets cannot be had, the owner is told nothing and `must_rejoin` is set: reading from a
        guessed offset would lose records.
        """
        if not partitions:
            # A rebalance that brings nothing. librdkafka answers a question about no partitions with a time-out.
            return {}
        try:
            positions = dict(committed())
        except TransientError as error:
            self.must_rejoin = True
            self._keep(error)
            return {}
        self.owned.update(partitions)
        starts = _offsets(positions)
        try:
            starts.update(self._listener.on_assigned(positions))
        except Exception as error:  # noqa: BLE001  raised again by raise_pending
            self._keep(error)
        return starts

    def again(self, committed: Callable[[], Mapping[Partition, Position | None]]) -> dict[Partition, int]:
        """Tell the owner once more of all that it owns; outside the library's callbacks, so errors are raised."""
        positions = committed()
        return _offsets(positions) | dict(self._listener.on_assigned(positions))

    def revoke(self, partitions: Sequence[Partition]) -> None:
        self._take(partitions, self._listener.on_revoked)

    def lose(self, partitions: Sequence[Partition]) -> None:
        self._take(partitions, self._listener.on_lost)

    def check_owned(self, partitions: Iterable[Partition]) -> None:
        """Brokers take a member's commit for any partition: ours would turn back its new owner's."""
        foreign = sorted(set(partitions) - self.owned)
        if foreign:
            names = ", ".join(f"{topic} partition {number}" for topic, number in foreign)
            raise TransientError(f"offsets were not committed: {names} belongs to another member of the group now")

    @property
    def has_pending(self) -> bool:
        return self._pending is not None

    def raise_pending(self) -> None:
        """Raise what a callback raised since the last call, if it did."""
        error, self._pending = self._pending, None
        if error is not None:
            raise error

    def _take(self, partitions: Sequence[Partition], tell: Callable[[Sequence[Partition]], None]) -> None:
        told = [partition for partition in partitions if partition in self.owned]
        if not told:
            return
        try:
            tell(told)
        except Exception as error:  # noqa: BLE001  raised again by raise_pending
            self._keep(error)
        finally:
            self.owned.difference_update(told)

    def _keep(self, error: Exception) -> None:
        if self._pending is None:
            self._pending = error


def _offsets(positions: Mapping[Partition, Position | None]) -> dict[Partition, int]:
    return {partition: position.offset for partition, position in positions.items() if position is not None}
