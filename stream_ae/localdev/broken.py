"""Records that cannot be used, one of each kind: what a real topic holds sooner or later."""

from collections.abc import Sequence

import numpy as np
import orjson

from stream_ae.records import NO_HEADERS, OutgoingBatch


def broken_records(topic: str, channels: Sequence[str], stream: str, timestamp_ms: int) -> OutgoingBatch:
    """A handful of records for `topic` that become dead letters, each for a reason of its own."""
    named: dict[str, object] = dict.fromkeys(channels, 0.5)
    good = {"stream": stream, "timestamp": timestamp_ms, "values": named}
    values = [
        b"",
        b"not JSON at all",
        b'{"stream": "caf\xe9"}',
        orjson.dumps([1, 2, 3]),
        orjson.dumps(good | {"values": named | {channels[0]: "hot"}}),
        orjson.dumps(good | {"values": {"no-such-channel": 1.0}}),
        orjson.dumps(good | {"values": [0.5]}),
        orjson.dumps(good | {"timestamp": "yesterday"}),
        orjson.dumps({name: part for name, part in good.items() if name != "timestamp"}),
        orjson.dumps(good | {"timestamp": timestamp_ms + 10 * 86_400_000}),
        orjson.dumps(good).replace(b"0.5", b"1e308", 1),
    ]
    count = len(values)
    keys = [stream.encode()] * count
    nowhere = np.full(count, -1)
    return OutgoingBatch(topic, nowhere.astype(np.int32), nowhere.astype(np.int64), keys, values, [NO_HEADERS] * count)
