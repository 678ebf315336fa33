"""Refused blocks that a worker would admit if it began reading at them, and what they would then hide.

A block is refused when it begins before its stream's newest sample, however far it reaches. A worker that rebuilds the
stream and meets the block first takes it for the beginning, and refuses what follows until time has passed its end. So
what lies in its shadow needs the log from the record before the block on.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from stream_ae.flow.admission import Arrivals
from stream_ae.flow.horizon import Horizon
from stream_ae.flow.offsets import Rewind
from stream_ae.records import Bool, Int64


@dataclass(frozen=True, slots=True)
class _Shadow:
    """Of one stream: up to which timestamp it reaches, and from where the log must be read to see it refused."""

    until_ms: int
    since: Rewind


class Shadows:
    """By slot, the shadows that its next records may lie in. There are few: refused blocks are rare."""

    def __init__(self) -> None:
        self._shadows: dict[int, _Shadow] = {}

    def forget(self, slots: Int64) -> None:
        """Their next record starts a stream afresh."""
        for slot in set(slots.tolist()) & set(self._shadows):
            del self._shadows[slot]

    def cast(
        self, arrivals: Arrivals, fresh: Bool, refused: Collection[int], offset: Int64, before: Horizon
    ) -> dict[int, Rewind]:
        """Rows of admitted records that lie in a shadow, and from where on each needs the log.

        refused:  rows; offset: (rows,) of every record; before: what was pushed before these arrivals.
        """
        blocks = np.isin(arrivals.row, list(refused)) & (arrivals.last_ms > arrivals.first_ms)
        if not self._shadows and not blocks.any():
            return {}
        concerned = np.isin(arrivals.slot, [*self._shadows, *arrivals.slot[blocks].tolist()])
        found: dict[int, Rewind] = {}
        newest: dict[int, Rewind] = {}
        for place in np.flatnonzero(concerned).tolist():
            row, slot, last_ms = int(arrivals.row[place]), int(arrivals.slot[place]), int(arrivals.last_ms[place])
            shadow = self._shadows.get(slot)
            if row in refused:
                if blocks[place]:
                    since = shadow.since if shadow is not None else newest.get(slot, before.newest(slot))
                    self._shadows[slot] = _Shadow(max(last_ms, shadow.until_ms if shadow else last_ms), since)
                continue
            if shadow is not None and not fresh[place] and arrivals.first_ms[place] <= shadow.until_ms:
                newest[slot] = found[row] = shadow.since
            else:
                self._shadows.pop(slot, None)
                newest[slot] = Rewind(int(offset[row]), int(arrivals.at_ms[place]))
        return found
