"""Latent codes on the wire: one record for each raw one, decodable back."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from stream_ae.errors import InvariantError, RecordError
from stream_ae.flow.headers import MODEL, SHAPE, header_text, source_of
from stream_ae.flow.latent import decode_latent
from stream_ae.records import Float32, Inference, OutgoingBatch, Partition
from stream_ae.settings import Settings, TopicSettings
from tests.flow.raw_log import Bench, MeanModel, Raw

P0 = Partition("raw", 0)
START_MS = 1_700_000_000_000
ON = Settings(topics=TopicSettings(latent="codes"))


@dataclass(frozen=True, eq=False)
class Coder(MeanModel):
    """Its codes are the mean of the window, and as many ones as the version says."""

    def infer(self, windows: Float32) -> Inference:
        answer = super().infer(windows)
        ones = np.ones((len(answer), int(self.version)), np.float32)
        return replace(answer, code=np.concatenate((answer.x_hat[:, :1], ones), axis=1))


def reading(offset: int, *values: float, broken: bool = False, tombstone: bool = False) -> Raw:
    at_ms = START_MS + 10 * offset
    times = tuple(at_ms + n for n in range(len(values)))
    return Raw(offset, 0, "s", at_ms, times, None if tombstone else values, broken)


def latent(bench: Bench) -> list[tuple[int, str | None, list[list[float]] | None]]:
    """Source offset, model and codes of everything that left, None for a tombstone."""
    found = []
    for batch in (outputs.latent for outputs in bench.counts):
        assert isinstance(batch, OutgoingBatch)
        assert batch.topic == "codes"
        for value, headers in zip(batch.values, batch.headers, strict=True):
            source = source_of(headers)
            assert source is not None
            codes = decode_latent(value, headers).tolist() if value is not None else None
            found.append((source.offset, header_text(headers, MODEL), codes))
    return found


def test_every_record_that_is_cleaned_has_one_with_the_codes_of_its_samples() -> None:
    bench = Bench(ON, Coder(), {P0: None})
    bench.feed([reading(0, 1.0), reading(1, 2.0, 3.0), reading(2, 0.0, broken=True), reading(3, tombstone=True)])
    bench.run()
    assert latent(bench) == [
        (0, "mean/1", [[1.0, 1.0]]),
        (1, "mean/1", [[1.25, 1.0], [1.75, 1.0]]),
        (3, "mean/1", None),
    ]
    (outputs,) = bench.counts
    assert outputs.latent is not None
    assert [header_text(headers, SHAPE) for headers in outputs.latent.headers] == ["1,2", "2,2", "0,2"]
    for column in ("partition", "timestamp_ms"):
        np.testing.assert_array_equal(getattr(outputs.latent, column), getattr(outputs.cleaned, column))
    assert outputs.latent.keys == outputs.cleaned.keys
    assert [batch.topic for batch in outputs.batches] == ["cleaned", "flagged", "dead-letters", "codes"]


def test_nothing_is_there_of_it_where_it_is_off() -> None:
    bench = Bench(Settings(), MeanModel(), {P0: None})
    bench.feed([reading(0, 1.0)])
    bench.run()
    assert [outputs.latent for outputs in bench.counts] == [None]
    assert [batch.topic for batch in bench.counts[0].batches] == ["cleaned", "flagged", "dead-letters"]


def test_records_that_leave_in_parts_bring_their_own_codes() -> None:
    bench = Bench(ON, Coder(lookahead=1), {P0: None})
    bench.feed([reading(offset, float(offset)) for offset in range(4)])
    bench.run()
    bench.feed([reading(4, 4.0)])
    bench.run()
    bench.run(now_s=10.0)
    assert [(offset, codes) for offset, _, codes in latent(bench)] == [
        (offset, [[mean, 1.0]]) for offset, mean in enumerate([0.25, 0.75, 1.5, 2.5, 3.25])
    ]


def test_codes_of_two_versions_in_one_block_do_not_mix() -> None:
    """The block is signed by the later version: what the earlier one answered of it is not a number."""
    bench = Bench(ON, Coder(lookahead=1), {P0: None})
    bench.feed([reading(0, 1.0, 2.0)])
    bench.run()
    bench.pipeline.use(Coder(lookahead=1, version="2"))
    bench.feed([reading(1, 3.0)])
    bench.run()
    ((offset, model, codes),) = latent(bench)
    assert (offset, model) == (0, "mean/2")
    np.testing.assert_array_equal(codes, [[np.nan] * 3, [1.75, 1.0, 1.0]])


def test_a_record_that_the_model_failed_on_has_none() -> None:
    bench = Bench(ON, Coder(), {P0: None})
    bench.feed([reading(0, 1.0), reading(1, 2.0)])
    work = bench.pipeline.take(0.0, device_idle=True)
    assert work is not None
    outputs = bench.pipeline.complete(work, Coder().infer(work.windows), failed={0: "the network raised ValueError"})
    assert outputs.latent is not None
    assert [source_of(headers) for headers in outputs.latent.headers] == [("raw", 0, 1)]


def test_a_model_without_codes_is_a_mistake_of_ours() -> None:
    bench = Bench(ON, MeanModel(), {P0: None})
    bench.feed([reading(0, 1.0)])
    with pytest.raises(InvariantError, match="gave no codes for topic codes"):
        bench.run()


@pytest.mark.parametrize(("value", "shape"), [(b"1234", b"1,2"), (b"12", b""), (b"1234", b"-1,-1"), (b"1234", b"1")])
def test_what_are_no_codes_is_refused(value: bytes, shape: bytes) -> None:
    with pytest.raises(RecordError, match="no latent codes"):
        decode_latent(value, ((SHAPE, shape),))
