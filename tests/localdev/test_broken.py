"""The demo's broken records are broken, each in its own way, and nothing else is."""

import numpy as np

from stream_ae.flow.decode import Decoder
from stream_ae.localdev.broken import broken_records
from stream_ae.records import RecordBatch
from stream_ae.settings import DecodeSettings

NOW_MS = 1_767_225_600_000


def test_each_broken_record_becomes_a_dead_letter() -> None:
    sent = broken_records("raw", ("a", "b", "c"), "pump", NOW_MS)
    count = len(sent)
    batch = RecordBatch(
        "raw", np.zeros(count, np.int32), np.arange(count), np.full(count, NOW_MS), sent.keys, sent.values, sent.headers
    )
    decoded = Decoder(("a", "b", "c"), DecodeSettings()).decode(batch)
    assert [rejection.row for rejection in decoded.rejections] == list(range(count))
    assert len({rejection.reason for rejection in decoded.rejections}) >= 9
