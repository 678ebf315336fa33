"""What operators say, as it stands on the wire."""

import numpy as np
import pytest

from stream_ae.errors import RecordError
from stream_ae.flow.feedback import Feedback, Label, LabelledSource, decode_feedback, encode_feedback, feedback_key


@pytest.mark.parametrize("end", [None, 200])
def test_what_is_written_is_read_again(end: int | None) -> None:
    said = Feedback(LabelledSource("raw", 3, 100, end), Label.ANOMALY)
    assert decode_feedback(encode_feedback(said)) == said
    assert feedback_key(said.source) == b"raw/3"


def test_the_source_of_a_flagged_record_is_taken_as_it_is() -> None:
    said = decode_feedback(b'{"source":{"topic":"raw","partition":0,"offset":60},"label":"normal","by":"anna"}')
    assert (said.source.offset, said.source.end, said.label) == (60, 61, Label.NORMAL)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"source": {"topic": "raw", "partition": 0, "offset": 1}}',
        b'{"source": {"topic": "raw", "partition": 0, "offset": 1}, "label": "strange"}',
        b'{"source": {"topic": "raw", "partition": 0, "offset": -1}, "label": "normal"}',
        b'{"source": {"topic": "raw", "partition": 0, "offset": 1e300}, "label": "normal"}',
        b'{"source": {"topic": "raw", "partition": 0, "offset": 9, "end_offset": 9}, "label": "normal"}',
        b'{"source": "raw/0/1", "label": "normal"}',
    ],
)
def test_what_is_no_feedback_is_an_error_of_its_record(value: bytes | None) -> None:
    with pytest.raises(RecordError):
        decode_feedback(value)


def test_whatever_the_bytes_nothing_else_is_raised() -> None:
    generator = np.random.default_rng(0)
    good = encode_feedback(Feedback(LabelledSource("raw", 3, 100, 200), Label.ANOMALY))
    for _ in range(2000):
        spoilt = bytearray(good)
        for place in generator.integers(0, len(spoilt), 3):
            spoilt[place] = generator.integers(0, 256)
        try:
            assert decode_feedback(bytes(spoilt)).source.end > 0
        except RecordError:
            continue
