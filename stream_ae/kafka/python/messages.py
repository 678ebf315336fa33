"""kafka-python's consumer records to columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stream_ae.records import NO_HEADERS, Headers, RecordBatch, empty_record_batch


def record_batch(topic: str, records: Sequence[Any]) -> RecordBatch:
    """The columns of `ConsumerRecord`s. A header without value reads as b""."""
    if not records:
        return empty_record_batch(topic)
    return RecordBatch(
        topic,
        partition=np.array([r.partition for r in records], np.int32),
        offset=np.array([r.offset for r in records], np.int64),
        timestamp_ms=np.array([r.timestamp for r in records], np.int64),
        keys=[r.key for r in records],
        values=[r.value for r in records],
        headers=[_headers(r.headers) for r in records],
    )


def _headers(headers: Sequence[tuple[str, bytes | None]]) -> Headers:
    if not headers:
        return NO_HEADERS
    return [(name, value or b"") for name, value in headers]
