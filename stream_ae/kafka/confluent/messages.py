"""confluent-kafka's message objects to columns."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from confluent_kafka import Message

from stream_ae.records import NO_HEADERS, Headers, RecordBatch, empty_record_batch


def record_batch(topic: str, messages: Sequence[Message]) -> RecordBatch:
    """The columns of messages that carry no error. A header without value reads as b""."""
    if not messages:
        return empty_record_batch(topic)
    return RecordBatch(
        topic,
        partition=np.array([m.partition() for m in messages], np.int32),
        offset=np.array([m.offset() for m in messages], np.int64),
        timestamp_ms=np.array([m.timestamp()[1] for m in messages], np.int64),
        keys=[m.key() for m in messages],
        values=[m.value() for m in messages],
        headers=[_headers(m) for m in messages],
    )


def _headers(message: Message) -> Headers:
    headers = cast("list[tuple[str, bytes | None]] | None", message.headers())
    if not headers:
        return NO_HEADERS
    return [(name, value or b"") for name, value in headers]
