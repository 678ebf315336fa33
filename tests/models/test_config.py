"""config.json is read strictly."""

import json
from typing import Any

import pytest

from stream_ae.errors import ModelError
from stream_ae.models.config import (
    DenseConfig,
    LinearConfig,
    ScoringConfig,
    TailConfig,
    VersionConfig,
    decoded,
    encoded,
)

TAIL = TailConfig(knots=[0.0, 1.0], levels=[0.0, 1.0], shape=0.1, sigma=1.0)


def _config() -> VersionConfig:
    return VersionConfig(
        architecture=DenseConfig(channels=2, window=8, hidden=(4,), latent=2),
        channels=("a", "b"),
        units=("K", ""),
        window=8,
        lookahead=1,
        recentre=0.7,
        scoring=ScoringConfig(
            span=4,
            decay=0.8,
            newest=TAIL,
            smoothed=TAIL,
            fused=TAIL,
            threshold=2.0,
            linear=LinearConfig(span=4, components=2, tail=TAIL),
        ),
        lineage={"parent": "3"},
        weights_sha256="00",
    )


def _changed(**changes: Any) -> bytes:
    data = json.loads(encoded(_config()))
    for path, value in changes.items():
        *groups, last = path.split("__")
        inner = data
        for group in groups:
            inner = inner[group]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    return json.dumps(data).encode()


def test_what_was_encoded_is_decoded() -> None:
    assert decoded(encoded(_config()), "config.json") == _config()


def test_a_configuration_of_the_first_schema_is_read_as_deterministic() -> None:
    config = decoded(_changed(schema=1, architecture__bottleneck=None), "config.json")
    assert config.architecture == _config().architecture


def test_a_configuration_of_the_second_schema_has_no_linear_view() -> None:
    config = decoded(_changed(schema=2, scoring__linear=None), "config.json")
    assert config.scoring.linear is None


def test_a_configuration_of_the_second_schema_is_read_as_without_a_choice_of_denoiser() -> None:
    assert decoded(_changed(schema=2, denoiser=None), "config.json").denoiser is None


def test_a_u_net_that_does_not_fit_the_window_is_refused() -> None:
    choice = {"by": "unet", "fill": "unet", "reason": "", "figures": {}}
    unet = {"channels": 2, "window": 16, "widths": [4, 4], "strides": [2]}
    with pytest.raises(ModelError, match="U-Net that does not fit"):
        decoded(_changed(denoiser={"choices": [choice, choice], "unet": unet}), "config.json")


def test_an_even_kernel_is_refused() -> None:
    architecture = {"kind": "conv1d", "channels": 2, "window": 8, "kernel": 4}
    with pytest.raises(ModelError, match="even kernel"):
        decoded(_changed(architecture=architecture), "config.json")


def test_encoding_is_canonical() -> None:
    assert encoded(decoded(encoded(_config()), "config.json")) == encoded(_config())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"surprise": 1}, "surprise"),
        ({"scoring__surprise": 1}, "surprise"),
        ({"window": None}, "window"),
        ({"architecture__latent": "16"}, "latent"),
        ({"architecture__kind": "pickle"}, "pickle"),
        ({"architecture__hidden": [10**9]}, "hidden"),
        ({"schema": 6}, "schema"),
        ({"architecture__bottleneck": "magic"}, "bottleneck"),
        ({"channels": ["a"]}, "1 channels"),
        ({"channels": ["a", "a"]}, "two channels of one name"),
        ({"window": 9}, "window 9"),
        ({"lookahead": 8}, "lookahead 8"),
        ({"scoring__span": 8}, "span 8"),
        ({"scoring__linear__span": 8}, "linear view's span"),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        decoded(_changed(**changes), "config.json")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"[" * 100_000])
def test_what_is_not_a_configuration_is_refused(text: bytes) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        decoded(text, "config.json")
