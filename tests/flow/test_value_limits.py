"""A value outside the limits that a person gave is an anomaly, whatever the model thinks of it."""

import orjson
import pytest

from stream_ae.configuration import load
from stream_ae.errors import ConfigError
from stream_ae.flow.headers import FLAG, header_text
from stream_ae.records import Partition
from stream_ae.settings import Settings
from tests.flow.raw_log import Bench, MeanModel, Raw

START_MS = 1_700_000_000_000


def reading(offset: int, value: float) -> Raw:
    return Raw(offset, 0, "s", START_MS + offset, (START_MS + offset,), (value,))


def bench(limits: dict[str, tuple[float | None, float | None]]) -> Bench:
    settings = Settings.model_validate({"decide": {"limits": limits, "close_after": 1}})
    return Bench(settings, MeanModel(threshold=1e9), {Partition("raw", 0): None})


def test_a_value_outside_its_limits_is_flagged_whatever_the_score_and_the_share_points_at_it() -> None:
    one = bench({"a": (0.1, 5.0)})
    one.feed(
        [reading(0, 0.1), reading(1, 5.0), reading(2, 5.1), reading(3, 0.0), reading(4, 1.0), reading(5, float("nan"))]
    )
    assert one.take()
    outputs = one.complete()
    assert [header_text(headers, FLAG) for headers in outputs.cleaned.headers] == ["0", "0", "1", "1", "0", "0"]
    events = [orjson.loads(value or b"") for value in outputs.flagged.values]
    assert [event["state"] for event in events] == ["open", "ongoing", "close"]
    assert [(event["channels"][0]["name"], event["channels"][0]["share"]) for event in events[:2]] == [("a", 1.0)] * 2


def test_a_side_may_be_open() -> None:
    one = bench({"a": (None, 5.0)})
    one.feed([reading(0, -1e30), reading(1, 6.0)])
    assert one.take()
    assert [header_text(headers, FLAG) for headers in one.complete().cleaned.headers] == ["0", "1"]


@pytest.mark.parametrize(
    ("limits", "reason"), [({"c": (0.0, 1.0)}, "channel 'c'; the model has a, b"), ({"a": (2.0, 1.0)}, "2 is above 1")]
)
def test_limits_that_cannot_be_are_refused(limits: dict[str, tuple[float | None, float | None]], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        bench(limits)


def test_limits_may_come_from_the_environment() -> None:
    settings = load(environment={"STREAM_AE_DECIDE__LIMITS": "{a: [0, null]}"}).settings
    assert settings.decide.limits == {"a": (0.0, None)}
