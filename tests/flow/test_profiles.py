"""A stream with a profile has its own threshold, centre and scale; all others are answered as without any."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import orjson
import pytest

from stream_ae.flow.headers import FLAG, PROFILE, header_text
from stream_ae.flow.pipeline import Outputs
from stream_ae.flow.profiles import Cleaned, Profiles, Served
from stream_ae.flow.window import windows_of
from stream_ae.records import Float32, Inference, ModelIdentity, Partition
from stream_ae.settings import BatchSettings, Settings
from tests.flow.raw_log import CHANNELS, Bench, MeanModel, Raw

P0 = Partition("raw", 0)
START_MS = 1_700_000_000_000


def profiles(
    threshold: dict[str, float], *, version: str = "7", model: MeanModel | None = None, centre: float = 0.0,
    scale: float = 1.0, cleaned: int = 0,
) -> Profiles:  # fmt: skip
    """Of a model whose centre is 0 and whose scale is 1."""
    count = len(threshold)
    return Profiles(
        identity=ModelIdentity("mean-profiles", version, f"profiles-{version}"),
        model=(model or MeanModel()).identity,
        channels=CHANNELS,
        model_centre=np.zeros(2, np.float32),
        model_scale=np.ones(2, np.float32),
        streams=tuple(threshold),
        centre=np.full((count, 2), centre, np.float32),
        scale=np.full((count, 2), scale, np.float32),
        threshold=np.array(list(threshold.values())),
        cleaned=np.full((count, 2), cleaned, np.int8),
    )


def reading(offset: int, value: float, stream: str = "s") -> Raw:
    return Raw(offset, 0, stream, START_MS + offset, (START_MS + offset,), (value,))


def bench(model: MeanModel | None = None, settings: Settings | None = None) -> Bench:
    return Bench(settings or Settings(), model or MeanModel(), {P0: None})


def answer(one: Bench, records: Sequence[Raw]) -> Outputs:
    one.feed(records)
    assert one.take()
    return one.complete()


class SecondOpinion(MeanModel):
    """Cleans by the mean over two samples; its autoencoder says half more, except where a value is missing."""

    def infer(self, windows: Float32) -> Inference:
        x_hat: Float32 = np.nanmean(windows[..., -2:], axis=2)
        expected: Float32 = x_hat + np.float32(0.5)
        return replace(super().infer(windows), x_hat=x_hat, expected=expected)


def events(outputs: Outputs) -> list[dict[str, object]]:
    return [orjson.loads(value or b"") for value in outputs.flagged.values]


def test_a_stream_with_a_profile_is_judged_by_its_own_threshold_and_its_records_say_so() -> None:
    one, model = bench(), MeanModel()
    one.pipeline.use(model, profiles({"wild": 50.0}, model=model))
    calm = [reading(0, 0.0, "wild"), reading(1, 0.0, "tame")]
    outputs = answer(one, [*calm, reading(2, 40.0, "wild"), reading(3, 40.0, "tame")])
    assert [header_text(headers, PROFILE) for headers in outputs.cleaned.headers] == ["7", None, "7", None]
    assert [header_text(headers, FLAG) for headers in outputs.cleaned.headers] == ["0", "0", "0", "1"]
    outputs = answer(one, [reading(4, 200.0, "wild")])
    assert [(event["threshold"], event["profile"]) for event in events(outputs)] == [(50.0, "7")]


def test_a_stream_without_a_profile_is_judged_by_the_models_threshold() -> None:
    one, model = bench(), MeanModel()
    one.pipeline.use(model, profiles({"other": 50.0}, model=model))
    outputs = answer(one, [reading(0, 0.0), reading(1, 9.0)])
    assert [(event["threshold"], event["profile"]) for event in events(outputs)] == [(2.0, None)]


def test_profiles_that_were_learnt_with_another_model_are_left_aside() -> None:
    one, model = bench(), MeanModel(version="2")
    one.pipeline.use(model, profiles({"s": 50.0}, model=MeanModel(version="1")))
    outputs = answer(one, [reading(0, 0.0), reading(1, 9.0)])
    assert [event["profile"] for event in events(outputs)] == [None]
    assert header_text(outputs.cleaned.headers[0], PROFILE) is None


def test_profiles_are_swapped_between_two_batches_and_a_batch_keeps_those_it_was_taken_for() -> None:
    settings = Settings(batch=BatchSettings(max_records=2))
    one, model = bench(settings=settings), MeanModel()
    one.pipeline.use(model, profiles({"s": 50.0}, model=model))
    one.feed([reading(0, 0.0), reading(1, 9.0)])
    assert one.take()
    one.pipeline.use(model, profiles({"s": 1.0}, version="8", model=model))
    one.feed([reading(2, 30.0), reading(3, 30.0)])
    assert one.take()
    assert events(one.complete()) == []
    assert {(event["threshold"], event["profile"]) for event in events(one.complete())} == {(1.0, "8")}
    one.pipeline.use(model)
    assert [event["threshold"] for event in events(answer(one, [reading(4, 0.0)]))] == [2.0]


def test_what_waits_for_look_ahead_is_answered_with_its_own_streams_profile() -> None:
    model = MeanModel(lookahead=1)
    one = bench(model)
    one.pipeline.use(model, profiles({"b": 50.0}, model=model))
    answer(one, [reading(0, 0.0, "a"), reading(1, 0.0, "b"), reading(2, 9.0, "a"), reading(3, 9.0, "b")])
    one.take(now_s=10.0)
    outputs = one.complete()
    assert [(event["stream"], event["threshold"]) for event in events(outputs)] == [("a", 2.0)]
    assert [header_text(headers, PROFILE) for headers in outputs.cleaned.headers] == [None, "7"]


def test_a_slot_used_again_does_not_inherit_a_profile() -> None:
    model = MeanModel()
    one = bench(model, Settings(batch=BatchSettings(state_ttl_s=1.0)))
    one.pipeline.use(model, profiles({"old": 50.0}, model=model))
    answer(one, [reading(0, 0.0, "old")])
    for offset in (5000, 10_000, 15_000):
        answer(one, [reading(offset, 0.0, f"new {offset}")])
    outputs = answer(one, [reading(15_001, 9.0, "new 15000")])
    assert [event["profile"] for event in events(outputs)] == [None]


@pytest.mark.parametrize("cut", [1, 2, 3, 7])
def test_a_moved_stream_is_answered_as_its_mapped_values_would_be_and_mapped_back(cut: int) -> None:
    x = np.array([[100.0], [104.0], [np.nan], [96.0], [140.0], [100.0], [102.0]], np.float32)
    model, moved = MeanModel(), profiles({"s": 9.0}, centre=100.0, scale=4.0)
    one = bench(model, Settings(batch=BatchSettings(max_records=cut)))
    one.pipeline.use(model, moved)
    one.feed([reading(offset, float(value)) for offset, value in enumerate(x[:, 0])])
    one.run()
    mapped = windows_of(np.hstack([(x - 100) / 4, np.full_like(x, (1 - 100) / 4)]), window=4)
    expected = model.infer(mapped).x_hat[:, 0] * 4 + 100
    found = [orjson.loads(trace.cleaned or b"")["values"]["a"] for trace in one.left.of(0).values()]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("cleaned", "expected"),
    [
        (Cleaned.AS_CHOSEN, [0.0, 2.0, 4.0, 8.0]),
        (Cleaned.LEFT_ALONE, [0.0, 4.0, 4.0, 8.0]),
        (Cleaned.BY_AUTOENCODER, [0.5, 2.5, 4.0, 8.5]),
    ],
)
@pytest.mark.parametrize(("centre", "scale"), [(0.0, 1.0), (100.0, 4.0)])
def test_a_stream_is_cleaned_as_is_best_for_it_and_missing_values_are_filled_in(
    cleaned: Cleaned, expected: list[float], centre: float, scale: float
) -> None:
    x = np.array([0.0, 4.0, np.nan, 8.0], np.float32)
    model = SecondOpinion()
    one = bench(model)
    one.pipeline.use(model, profiles({"s": 1e9}, cleaned=cleaned, centre=centre, scale=scale))
    outputs = answer(one, [reading(offset, float(value)) for offset, value in enumerate(x * scale + centre)])
    found = [orjson.loads(value or b"")["values"]["a"] for value in outputs.cleaned.values]
    np.testing.assert_allclose((np.array(found) - centre) / scale, expected, atol=1e-4)


def test_a_stream_without_a_profile_is_cleaned_as_the_version_chose() -> None:
    model = SecondOpinion()
    one = bench(model)
    one.pipeline.use(model, profiles({"other": 1e9}, cleaned=Cleaned.LEFT_ALONE))
    outputs = answer(one, [reading(0, 0.0), reading(1, 4.0)])
    assert [orjson.loads(value or b"")["values"]["a"] for value in outputs.cleaned.values] == [0.0, 2.0]


def test_values_far_beyond_what_a_float_holds_stay_answerable() -> None:
    served = Served(MeanModel(), profiles({"s": 9.0}, scale=1e-30))
    rows = served.rows_of(["s"])
    back = served.from_model(np.full((1, 2), 3e38, np.float32), served.rows_of(["t"]))
    assert np.isfinite(back).all()
    wide = Served(MeanModel(), profiles({"s": 9.0}, scale=1e30))
    assert np.isfinite(wide.from_model(np.full((1, 2), 3e38, np.float32), rows)).all()


def test_without_a_moved_stream_windows_are_handed_on_as_they_are() -> None:
    served = Served(MeanModel(), profiles({"s": 9.0}))
    windows = np.ones((2, 2, 4), np.float32)
    assert served.to_model(windows, served.rows_of(["s", "t"])) is windows
