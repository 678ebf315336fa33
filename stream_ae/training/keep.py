"""Which samples stay where there are more than may be kept; the answer depends on the data alone, not on how it was
read."""

import zlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from stream_ae.records import Partition
from stream_ae.settings import Settings
from stream_ae.training.rows import Rows

StreamKey = tuple[Partition, str]
# Long enough for windows of every length that fit the block, short enough for many of them.
BLOCK_WINDOWS = 32
SELDOM = 2**30
Held = Mapping[StreamKey, Rows]
Seen = Mapping[StreamKey, int]


class Keeper(Protocol):
    """Makes room. `seen`: how many samples each stream has had so far."""

    @property
    def block(self) -> int:
        """Samples of a stream that stay or go together."""
        ...

    def meanwhile(self, held: Held, seen: Seen) -> dict[StreamKey, Rows]:
        """Of at least twice as many as may be kept those that may still be wanted."""
        ...

    def finally_kept(self, held: Held, seen: Seen) -> dict[StreamKey, Rows]: ...


def keeper(settings: Settings, most: int) -> Keeper:
    """The one that `retrain.keep` names."""
    if settings.retrain.keep == "spread":
        window = settings.training.window if settings.decode.records == "json" else 1
        return Spread(most, BLOCK_WINDOWS * window)
    return Newest(most)


class Newest:
    """The newest of each stream, the same share of all of them, rounded up."""

    block = 2**62

    def __init__(self, most: int) -> None:
        self._most = most

    def meanwhile(self, held: Held, seen: Seen) -> dict[StreamKey, Rows]:
        """Of what is wanted in the end nothing is thrown away: what is still to come makes the share only smaller."""
        share = min(self._most / max(sum(seen.values()), 1), 1.0)
        return {key: rows.taken(slice(-int(np.ceil(share * seen[key])), None)) for key, rows in held.items()}

    finally_kept = meanwhile


class Spread:
    """Blocks of each stream, evenly spread over all that there is."""

    def __init__(self, most: int, block: int) -> None:
        self._most, self.block = most, block
        self._every = 1

    def meanwhile(self, held: Held, seen: Seen) -> dict[StreamKey, Rows]:
        """Every second block, of those every second, and so on: as many halvings as all that there is asks for."""
        rows = self._chosen(held)
        while sum(map(len, rows.values())) > 2 * self._most and self._every < SELDOM:
            self._every *= 2
            rows = self._chosen(rows)
        return rows

    def finally_kept(self, held: Held, seen: Seen) -> dict[StreamKey, Rows]:
        rows = self.meanwhile(held, seen)
        samples = sum(map(len, rows.values()))
        if samples <= self._most:
            return rows
        blocks = sorted((int(block), key) for key, one in rows.items() for block in np.unique(one.block))
        count = max(int(len(blocks) * self._most / samples), 1)
        stay: dict[StreamKey, list[int]] = {}
        for place in np.linspace(0, len(blocks) - 1, count).round().astype(np.int64).tolist():
            block, key = blocks[place]
            stay.setdefault(key, []).append(block)
        return {key: rows[key].taken(np.isin(rows[key].block, some)) for key, some in stay.items()}

    def _chosen(self, held: Held) -> dict[StreamKey, Rows]:
        chosen = {key: one.taken((one.block + _phase(key)) % self._every == 0) for key, one in held.items()}
        return {key: one for key, one in chosen.items() if len(one)}


def _phase(key: StreamKey) -> int:
    """Where many streams have a block each, not all of them shall keep their oldest."""
    return zlib.crc32(f"{key[0].number} {key[1]}".encode(errors="surrogatepass")) % SELDOM
