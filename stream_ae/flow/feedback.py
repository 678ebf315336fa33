"""What operators say of raw records: the wire format of the feedback topic.

JSON: `{"source": {"topic": "pumps", "partition": 0, "offset": 60}, "label": "normal"}`. `source` is the one of a
flagged record, copied; with `end_offset` (not included) it stands for all records of the partition from `offset` on.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from stream_ae.errors import RecordError

Offset = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class Label(StrEnum):
    """What an operator takes a record for, whatever the model said of it."""

    NORMAL = "normal"
    ANOMALY = "anomaly"


class LabelledSource(msgspec.Struct, frozen=True, omit_defaults=True):
    """One raw record, or with `end_offset` (not included) all from `offset` up to there."""

    topic: str
    partition: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
    offset: Offset
    end_offset: Offset | None = None

    @property
    def end(self) -> int:
        """The offset behind the last record."""
        return self.offset + 1 if self.end_offset is None else self.end_offset


class Feedback(msgspec.Struct, frozen=True):
    """One record of the feedback topic. The newest one about a raw record counts."""

    source: LabelledSource
    label: Label


_DECODER = msgspec.json.Decoder(Feedback)


def decode_feedback(value: bytes | None) -> Feedback:
    """Raises RecordError for what is none; fields beside those that are known do not matter."""
    try:
        found = _DECODER.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError("not_feedback", f"not a feedback record: {error}") from None
    if found.source.end <= found.source.offset:
        raise RecordError(
            "not_feedback", f"end_offset {found.source.end_offset} must lie above offset {found.source.offset}"
        )
    return found


def encode_feedback(feedback: Feedback) -> bytes:
    """As `decode_feedback` reads it."""
    return msgspec.json.encode(feedback)


def feedback_key(source: LabelledSource) -> bytes:
    """One key for all labels of a raw partition: Kafka then keeps them in the order in which they were given."""
    return f"{source.topic}/{source.partition}".encode()
